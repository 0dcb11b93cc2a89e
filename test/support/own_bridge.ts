import { spawnSync } from "node:child_process";
import process from "node:process";

/** The name of a bridge for this test process alone: others test at the same time. */
export const bridgeName = `mayfly-${process.pid % 10_000_000}`;

/** A subnet for this test process alone. @param index below 4, where it has several. */
export function ownSubnet(index = 0): { readonly prefix: string; readonly subnet: string } {
  const number = process.pid * 4 + index;
  const prefix = `10.${100 + Math.floor(number / 256) % 100}.${number % 256}`;
  return { prefix, subnet: `${prefix}.0/24` };
}

/** Why there can be no bridge on this machine; false where there can be one, and where there has to be. */
export function withoutBridges(): string | false {
  if (process.env["CI"] === "true") return false;
  const trial = `mft${process.pid}`;
  const made = spawnSync("ip", ["link", "add", trial, "type", "bridge"], { encoding: "utf8" });
  spawnSync("ip", ["link", "delete", trial]);
  return made.status === 0 ? false : `the kernel makes no bridge: ${made.stderr}`;
}
