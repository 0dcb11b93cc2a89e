import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { Failure } from "../core/errors.ts";
import { type Layout, parseLayout } from "../linux/cgroup/layout.ts";
import { isAlive } from "./process_info.ts";
import type { ContainerRecord } from "./state_store.ts";

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#state (and `paused`, as runc has it) */
export type ContainerStatus = "creating" | "created" | "running" | "paused" | "stopped";

/** A fifo in the folder of a container, which it reads while it waits for its start. */
const startFifo = "start";

/** What a container does now. */
export function statusOf(record: ContainerRecord): ContainerStatus {
  if (record.pid === 0) return "creating";
  if (!isAlive(record.pid, record.startTicks)) return "stopped";
  if (waits(record)) return "created";
  return isFrozen(record.cgroupPath) ? "paused" : "running";
}

/** @throws failed_precondition, naming the state. */
export function wantStatus(record: ContainerRecord, action: string, ...wanted: readonly ContainerStatus[]): void {
  const status = statusOf(record);
  if (wanted.includes(status)) return;
  throw new Failure(
    "failed_precondition",
    `cannot ${action} container ${JSON.stringify(record.id)}: it is ${status}, want ${wanted.join(" or ")}`,
    { details: { id: record.id, status } },
  );
}

/** Whether somebody reads the fifo. */
function waits({ folder }: ContainerRecord): boolean {
  try {
    closeSync(openSync(`${folder}/${startFifo}`, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

function isFrozen(cgroupPath: string): boolean {
  return layout().hierarchies.some(({ path, version, controllers }) =>
    version === 2
      ? /^frozen 1$/m.test(read(`${path}${cgroupPath}/cgroup.events`))
      : controllers.includes("freezer") && read(`${path}${cgroupPath}/freezer.state`).trim() === "FROZEN"
  );
}

/** Read as files: telling a state needs no other call of the kernel. */
function layout(): Layout {
  return parseLayout(
    read("/proc/self/mountinfo"),
    (path) => read(`${path}/cgroup.controllers`).trim().split(" ").filter((name) => name !== ""),
  );
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
