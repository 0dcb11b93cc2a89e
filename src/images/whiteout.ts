import type { ByteString } from "../linux/byte_string.ts";
import { splitPath } from "./entry_path.ts";

const prefix = ".wh.";
const opaqueName = ".wh..wh..opq";
/** Files of AUFS itself that old images carry. */
const aufsPrefix = ".wh..wh.";

/**
 * What an entry of a layer says by its name alone: that it hides all that the layers below have in its folder, or one name
 * there, or nothing at all.
 * @returns undefined for an entry like others.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts
 */
export function whiteoutOf(
  path: ByteString,
): { readonly hides: "all" | "nothing" } | { readonly hides: "name"; readonly name: ByteString } | undefined {
  if (!path.includes(prefix)) return undefined;
  if (path.split("/").some((part) => part.startsWith(aufsPrefix) && part !== opaqueName)) return { hides: "nothing" };
  const [, name] = splitPath(path);
  if (name === opaqueName) return { hides: "all" };
  return name.startsWith(prefix) ? { hides: "name", name: name.slice(prefix.length) } : undefined;
}
