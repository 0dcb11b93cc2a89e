import { Failure } from "../core/errors.ts";
import { errno } from "../linux/errno.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";
import type { Machine } from "./machine.ts";
import { isAlive } from "./process_info.ts";
import type { ContainerRecord } from "./state_store.ts";

/** Signals a container's init, and surely no other process. @throws failed_precondition when it has ended. */
export function signalContainer({ kernel }: Machine, record: ContainerRecord, signal: number): void {
  const pidfd = kernel.attempt("pidfd_open", record.pid, 0);
  try {
    // Once it is held, its id cannot come to mean another: what is looked at then is the process that is signalled.
    const result = pidfd >= 0 && isAlive(record.pid, record.startTicks)
      ? kernel.attempt("pidfd_send_signal", pidfd, signal, 0, 0)
      : -errno.ESRCH;
    if (result === -errno.ESRCH) {
      throw new Failure(
        "failed_precondition",
        `cannot signal container ${JSON.stringify(record.id)}: container not running`,
      );
    }
    if (result < 0) {
      throw syscallFailure(`cannot signal container ${JSON.stringify(record.id)}`, "pidfd_send_signal", result);
    }
  } finally {
    if (pidfd >= 0) kernel.attempt("close", pidfd);
  }
}
