import { posix } from "node:path";
import { Failure } from "../core/errors.ts";
import { argument, type ByteString, fromText } from "../linux/byte_string.ts";
import { errno } from "../linux/errno.ts";
import type { Files } from "../linux/files.ts";
import type { Kernel } from "../linux/kernel.ts";
import { O_CLOEXEC, O_DIRECTORY, O_RDONLY, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } from "../linux/flags.ts";
import type { FileStatus } from "../linux/statx.ts";
import { syscallFailure } from "../linux/syscall_failure.ts";

/** A file below a root. */
export interface RootedFile {
  /** The open folder that it is in; closed by who asked. */
  readonly parent: number;
  /** Its name there; empty for the folder itself. */
  readonly name: ByteString;
  readonly status: FileStatus;
}

/**
 * Finds a file by a path that somebody gave, with an open folder as `/`. Symbolic links on the way are followed inside the
 * root and never out of it; one at the end is the file that is meant, unless a slash follows.
 * @param path in text; `..` is taken out of it first, as Docker does.
 * @throws not_found; invalid_argument for a path that holds a NUL; failed_precondition where the way leads through no folder.
 */
export function findInRoot({ kernel, files }: RootedParts, root: number, path: string): RootedFile {
  const { clean, folder } = cleanPath(path);
  const [parentPath, name] = folder ? [clean, ""] : [posix.dirname(clean), posix.basename(clean)];
  const parent = openInRoot(kernel, root, parentPath, path);
  try {
    const status = files.stat(parent, fromText(name));
    if (status !== undefined) return { parent, name: fromText(name), status };
    throw new Failure("not_found", `cannot find ${JSON.stringify(path)} in the container`, { details: { path } });
  } catch (error) {
    files.close(parent);
    throw error;
  }
}

/** Opens a folder likewise; a link at the end is followed. @throws as `findInRoot`; invalid_argument when it is no folder. */
export function openFolderInRoot({ kernel }: RootedParts, root: number, path: string): number {
  return openInRoot(kernel, root, cleanPath(path).clean, path);
}

/** The last part of a path, as the top of an archive is called: `.` for the root and for a folder's content alone. */
export function archiveName(path: string): string {
  if (/(?:^|\/)\.\/?$/.test(path)) return ".";
  return posix.basename(cleanPath(path).clean) || ".";
}

export interface RootedParts {
  readonly kernel: Kernel;
  readonly files: Files;
}

function cleanPath(path: string): { clean: string; folder: boolean } {
  if (path === "" || path.includes("\0")) {
    throw new Failure("invalid_argument", `cannot find ${JSON.stringify(path)} in the container: it is no path`);
  }
  const clean = posix.resolve("/", path);
  return { clean, folder: clean === "/" || /\/\.?$|^\.$/.test(path) };
}

function openInRoot(kernel: Kernel, root: number, clean: string, path: string): number {
  const how = [O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS];
  const fd = kernel.attempt("openat2", root, argument(fromText(clean)), how, how.length * 8);
  if (fd >= 0) return fd;
  const why = fd === -errno.ENOTDIR
    ? "it is no folder"
    : fd === -errno.ELOOP
    ? "its symbolic links have no end, or are the kernel's own"
    : undefined;
  if (why !== undefined) {
    throw new Failure("invalid_argument", `cannot open ${JSON.stringify(path)} in the container: ${why}`, {
      details: { path },
    });
  }
  throw syscallFailure(`cannot open ${JSON.stringify(path)} in the container`, "openat2", fd);
}
