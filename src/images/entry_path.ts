import { Failure } from "../core/errors.ts";
import { type ByteString, toText } from "../linux/byte_string.ts";

/** Deeper trees cannot be walked or removed in reasonable time; the longest path of the kernel has room for more. */
export const maxDepth = 512;

/**
 * Refuses a folder that a container has made too deep: each on the way down takes a descriptor and its part of the stack.
 * @param depth how many folders it is below where the walk began.
 * @throws resource_exhausted.
 */
export function checkDepth(depth: number, path: ByteString): void {
  if (depth <= maxDepth) return;
  throw new Failure(
    "resource_exhausted",
    `cannot look into ${quotePath(path)}: it is more than ${maxDepth} folders deep`,
    {
      details: { path: toText(path.slice(0, 300)) },
    },
  );
}

/**
 * Brings a path of an archive into the form `a/b/c`, seen from the root: an absolute one begins there too.
 * @returns the empty string for the root itself.
 * @throws invalid_argument when it climbs out of the root.
 */
export function entryPath(path: ByteString, what = "the entry"): ByteString {
  if (/^[^/.][^/]*$/.test(path)) return path;
  const parts: ByteString[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) throw refused(path, what, "it climbs out of the root with ..");
  }
  if (parts.length > maxDepth) throw refused(path, what, `it has more than ${maxDepth} folders`);
  return parts.join("/");
}

/** @returns the folder (empty for the root) and the last part of a path. */
export function splitPath(path: ByteString): [parent: ByteString, name: ByteString] {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? ["", path] : [path.slice(0, slash), path.slice(slash + 1)];
}

export function joinPath(parent: ByteString, name: ByteString): ByteString {
  return parent === "" ? name : `${parent}/${name}`;
}

/** The refusal of an entry, by its name. */
export function refused(path: ByteString, what: string, why: string): Failure {
  return new Failure("invalid_argument", `cannot unpack ${what} ${quotePath(path)}: ${why}`, {
    details: { path: toText(path) },
  });
}

export function quotePath(path: ByteString): string {
  return JSON.stringify(toText(path.length > 300 ? `${path.slice(0, 300)}...` : path));
}
