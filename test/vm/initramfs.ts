import { readFileSync } from "node:fs";
import type { VmModule } from "./kernel.ts";

/** One entry of an archive. */
interface Entry {
  readonly path: string;
  readonly mode: number;
  readonly bytes?: Uint8Array;
}

const folder = 0o040755;
const program = 0o100755;
const file = 0o100644;

/** Mounts this machine's root, read only, under a layer in memory, and goes on from there. */
function init(modules: readonly VmModule[]): string {
  return `#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /proc /sys /dev /lower /upper /root
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
${modules.map(({ name }) => `busybox insmod /modules/${name}.ko`).join("\n")}
busybox mount -t virtiofs -o ro machine /lower || busybox reboot -f
busybox mount -t tmpfs -o size=50% upper /upper
busybox mkdir /upper/files /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
busybox cp /inside /root/vm-inside
busybox umount /proc /sys
busybox mount --move /dev /root/dev
exec busybox switch_root /root /bin/sh /vm-inside
`;
}

/**
 * Makes the archive that the kernel unpacks as its first root.
 * @param inside the shell script that runs as the first process, on this machine's own files.
 * @see https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
 */
export function initramfs(modules: readonly VmModule[], inside: string): Uint8Array {
  const encoder = new TextEncoder();
  return archive([
    { path: "bin", mode: folder },
    { path: "modules", mode: folder },
    { path: "bin/busybox", mode: program, bytes: readFileSync("/bin/busybox") },
    ...modules.map(({ name, bytes }) => ({ path: `modules/${name}.ko`, mode: file, bytes })),
    { path: "init", mode: program, bytes: encoder.encode(init(modules)) },
    { path: "inside", mode: program, bytes: encoder.encode(inside) },
  ]);
}

function archive(entries: readonly Entry[]): Uint8Array {
  const parts = [...entries, { path: "TRAILER!!!", mode: 0 }].flatMap((entry, index) => record(entry, index + 1));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Header and name, then the content, each filled up to four bytes. */
function record({ path, mode, bytes = new Uint8Array() }: Entry, inode: number): readonly Uint8Array[] {
  const name = `${path}\0`;
  const links = 1;
  const fields = [inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return [padded(new TextEncoder().encode(header + name)), padded(bytes)];
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array((bytes.length + 3) & ~3);
  whole.set(bytes);
  return whole;
}
