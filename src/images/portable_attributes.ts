import { codeOf } from "../core/errors.ts";
import type { ByteString } from "../linux/byte_string.ts";
import type { Xattrs } from "../linux/xattr.ts";

/** What a machine's security modules and filesystems keep for themselves. */
const local: ReadonlySet<ByteString> = new Set(["security.selinux", "security.ima", "security.evm"]);
const localPrefixes = ["trusted.overlay.", "user.overlay.", "btrfs."];

/**
 * The extended attributes that belong to a file and go with it into an archive, by name.
 * @returns none for a file that has gone meanwhile.
 */
export function portableAttributes(
  xattrs: Xattrs,
  parent: number,
  name: ByteString,
): ReadonlyMap<ByteString, Uint8Array<ArrayBuffer>> {
  const attributes = new Map<ByteString, Uint8Array<ArrayBuffer>>();
  try {
    for (const attribute of xattrs.list(parent, name).sort()) {
      if (local.has(attribute) || localPrefixes.some((prefix) => attribute.startsWith(prefix))) continue;
      const value = xattrs.get(parent, name, attribute);
      if (value !== undefined) attributes.set(attribute, value);
    }
  } catch (error) {
    if (codeOf(error) !== "not_found") throw error;
  }
  return attributes;
}
