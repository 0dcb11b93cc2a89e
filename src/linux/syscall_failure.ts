import { Failure } from "../core/errors.ts";
import { errnoCode, errnoName, errnoText } from "./errno.ts";
import type { SyscallName } from "./syscalls.ts";

/**
 * The failure of a system call, told as what could not be done.
 * @param action for example `cannot create "/etc/passwd"`.
 * @param result what the call returned: the negative errno.
 */
export function syscallFailure(action: string, syscall: SyscallName, result: number): Failure {
  return new Failure(errnoCode(-result), `${action}: ${errnoText(-result)}`, { syscall, errno: errnoName(-result) });
}
