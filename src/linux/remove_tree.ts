import { type ByteString, fromText, toText } from "./byte_string.ts";
import { errno } from "./errno.ts";
import { Files } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { Slice } from "./slice.ts";
import { syscallFailure } from "./syscall_failure.ts";

/** Below it, directories are moved up to the top first, so that no depth exhausts descriptors or path lengths. */
const maxDepth = 100;

/**
 * Removes a folder and all below it. Symbolic links are removed, never followed; names may be any bytes.
 *
 * Two callers must not remove the same at once.
 * @param path where nothing is, nothing is done.
 * @throws failed_precondition when something is mounted below it; what else the kernel says.
 */
export async function removeTree(kernel: Kernel, path: string, signal?: AbortSignal): Promise<void> {
  using files = new Files(kernel);
  const slash = path.lastIndexOf("/");
  let parent: number;
  try {
    parent = files.openFolder(path.slice(0, slash) || "/");
  } catch (error) {
    if (error instanceof Error && "errno" in error && error.errno === "ENOENT") return;
    throw error;
  }
  try {
    await removeEntry(files, parent, fromText(path.slice(slash + 1)), signal);
  } finally {
    files.close(parent);
  }
}

/**
 * Removes one entry of an open directory, and all below it.
 * @param name where nothing is, nothing is done.
 */
export async function removeEntry(
  files: Files,
  parent: number,
  name: ByteString,
  signal?: AbortSignal,
): Promise<void> {
  const slice = new Slice(signal);
  if (!isDirectory(unlink(files, parent, name))) return;
  const top = files.openDirectory(parent, name);

  const empty = async (directory: number, depth: number): Promise<void> => {
    // Removing while listing may hide entries from the listing, so it ends with a pass that finds none.
    for (let found = true; found;) {
      found = false;
      files.rewind(directory);
      for (let entries = files.list(directory); entries !== undefined; entries = files.list(directory)) {
        for (const entry of entries) {
          found = true;
          if (slice.over) await slice.next();
          if (entry.directory !== true && !isDirectory(unlink(files, directory, entry.name))) continue;
          if (depth >= maxDepth) {
            const result = files.tryRename(directory, entry.name, top, crypto.randomUUID());
            if (result < 0 && result !== -errno.ENOENT) {
              throw syscallFailure("cannot move a folder up to remove it", "renameat", result);
            }
            continue;
          }
          const child = files.openDirectory(directory, entry.name);
          try {
            await empty(child, depth + 1);
          } finally {
            files.close(child);
          }
          removeDirectory(files, directory, entry.name);
        }
      }
    }
  };

  try {
    await empty(top, 0);
  } finally {
    files.close(top);
  }
  removeDirectory(files, parent, name);
}

/** @returns the result, which is -EISDIR for a directory. */
function unlink(files: Files, parent: number, name: ByteString): number {
  const result = files.tryUnlink(parent, name);
  if (result === 0 || result === -errno.ENOENT || isDirectory(result)) return result;
  throw syscallFailure(`cannot remove ${JSON.stringify(toText(name))}`, "unlinkat", result);
}

function isDirectory(result: number): boolean {
  return result === -errno.EISDIR;
}

function removeDirectory(files: Files, parent: number, name: ByteString): void {
  const result = files.tryUnlink(parent, name, true);
  if (result < 0 && result !== -errno.ENOENT) {
    const cure = result === -errno.EBUSY ? " (something is mounted there)" : "";
    throw syscallFailure(`cannot remove the folder ${JSON.stringify(toText(name))}${cure}`, "unlinkat", result);
  }
}
