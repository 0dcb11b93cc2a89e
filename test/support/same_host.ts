import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";

/** The command that runs a script on the host that runs this test. */
export async function sameHost(script: string): Promise<readonly [program: string, ...args: string[]]> {
  const { name } = await currentHost();
  return name === "deno" ? [process.execPath, "run", "-A", "--no-check", script] : [process.execPath, script];
}
