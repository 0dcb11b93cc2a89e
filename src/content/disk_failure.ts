import { type ErrorCode, Failure, messageOf } from "../core/errors.ts";

const codes: Readonly<Record<string, readonly [code: ErrorCode, cure?: string]>> = {
  ENOENT: ["not_found"],
  EEXIST: ["already_exists"],
  ENOSPC: [
    "resource_exhausted",
    "the disk is full: remove images that are not needed, or give the root folder more room",
  ],
  EDQUOT: ["resource_exhausted", "the disk quota is used up: raise it, or remove images that are not needed"],
  EFBIG: ["resource_exhausted", "the file is larger than the limit of the filesystem or of this process"],
  EMFILE: ["resource_exhausted", "too many files are open in this process: raise its limit (ulimit -n)"],
  ENFILE: ["resource_exhausted", "too many files are open on this machine"],
  ENOMEM: ["resource_exhausted"],
  EACCES: ["permission_denied", "run as the user who owns the root folder"],
  EPERM: ["permission_denied", "run as the user who owns the root folder"],
  EROFS: ["failed_precondition", "the filesystem is read-only: choose another root folder with --root"],
  ENOTDIR: ["failed_precondition"],
  EIO: ["data_loss", "the disk reports an error: look into the kernel's log"],
};

/** Names the errno of what `node:fs` threw; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/**
 * Turns an error of the filesystem into a failure with code and cure. A failure stays what it is.
 * @param action what was being done, for example `cannot write ingest "layer-…"`.
 */
export function diskFailure(action: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const errno = errnoOf(error);
  const [code, cure] = codes[errno ?? ""] ?? ["internal"];
  const syscall = typeof error === "object" && error !== null && "syscall" in error ? String(error.syscall) : undefined;
  return new Failure(code, `${action}: ${cure ?? messageOf(error)}`, {
    cause: error,
    ...(errno === undefined ? {} : { errno }),
    ...(syscall === undefined ? {} : { syscall }),
  });
}
