import { Failure } from "../core/errors.ts";
import { errno } from "./errno.ts";
import type { Kernel } from "./kernel.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** The highest signal. */
const lastSignal = 64;

/** @param whom for the message: `container "x"`. @throws invalid_argument. */
export function checkSignal(signal: number, whom: string): void {
  if (Number.isInteger(signal) && signal >= 0 && signal <= lastSignal) return;
  throw new Failure("invalid_argument", `cannot send signal ${signal} to ${whom}: want 0 to ${lastSignal}`, {
    details: { signal },
  });
}

/** Signals a process; no error when it has ended. @throws permission_denied. */
export function sendSignal(kernel: Kernel, pidfd: number, signal: number, whom: string): void {
  const result = kernel.attempt("pidfd_send_signal", pidfd, signal, 0, 0);
  if (result < 0 && result !== -errno.ESRCH) {
    throw syscallFailure(`cannot send signal ${signal} to ${whom}`, "pidfd_send_signal", result);
  }
}
