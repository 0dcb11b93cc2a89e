import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { fromText } from "../../src/linux/byte_string.ts";
import { Files } from "../../src/linux/files.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { Xattrs } from "../../src/linux/xattr.ts";

/** Describes every file of a tree in a line: all that an archive can say about it. */
export function describeTree(kernel: Kernel, root: string, options: { readonly times?: boolean } = {}): string[] {
  using files = new Files(kernel);
  using xattrs = new Xattrs(kernel);
  const lines: string[] = [];
  const firsts = new Map<string, string>();
  const visit = (path: string) => {
    const full = join(root, path);
    const s = lstatSync(full, { bigint: true });
    const parts = [path || ".", (s.mode & 0o177777n).toString(8), `${s.uid}:${s.gid}`];
    if (options.times !== false) parts.push(String(s.mtimeNs));
    if (s.isFile()) {
      parts.push(String(s.size), createHash("sha256").update(readFileSync(full)).digest("hex").slice(0, 12));
    }
    if (s.isSymbolicLink()) parts.push(`-> ${readlinkSync(full)}`);
    if (s.isCharacterDevice() || s.isBlockDevice()) parts.push(`device ${s.rdev}`);
    if (!s.isDirectory() && s.nlink > 1n) {
      const first = firsts.get(String(s.ino)) ?? path;
      firsts.set(String(s.ino), first);
      parts.push(`same as ${first}`);
    }
    const parent = files.openFolder(join(full, ".."));
    const name = fromText(full.slice(full.lastIndexOf("/") + 1));
    for (const attribute of xattrs.list(parent, name).sort()) {
      parts.push(`${attribute}=${Buffer.from(xattrs.get(parent, name, attribute) ?? []).toString("hex")}`);
    }
    files.close(parent);
    lines.push(parts.join(" "));
    if (s.isDirectory()) { for (const child of readdirSync(full).sort()) visit(join(path, child)); }
  };
  visit("");
  return lines;
}
