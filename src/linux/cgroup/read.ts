import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../flags.ts";
import type { Kernel } from "../kernel.ts";

const decoder = new TextDecoder();

/**
 * Reads a file of the kernel's (below /proc or /sys), whose size is not known before.
 * @throws not_found, or what else open(2) and read(2) say.
 */
export function readText(kernel: Kernel, path: string): string {
  const fd = kernel.call("openat", AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  try {
    const size = 16384;
    let text = "";
    for (;;) {
      const results = kernel.run([{
        syscall: "read",
        args: [fd, { out: "text", size }, size],
        why: `read ${JSON.stringify(path)}`,
      }]);
      if (results.last === 0) return text;
      text += decoder.decode(results.bytes("text").subarray(0, results.last), { stream: true });
    }
  } finally {
    kernel.attempt("close", fd);
  }
}

/** The names of the folders in a folder. @throws not_found. */
export function listFolders(kernel: Kernel, path: string): string[] {
  const fd = kernel.call("openat", AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  try {
    const size = 16384;
    const names: string[] = [];
    for (;;) {
      const results = kernel.run([{
        syscall: "getdents64",
        args: [fd, { out: "entries", size }, size],
        why: `list ${JSON.stringify(path)}`,
      }]);
      if (results.last === 0) return names;
      names.push(...foldersIn(results.bytes("entries").subarray(0, results.last)));
    }
  } finally {
    kernel.attempt("close", fd);
  }
}

const DT_DIR = 4;

/** `struct linux_dirent64`: 16 bytes of numbers, 16 bits of length, 8 bits of type, the name. */
function* foldersIn(entries: Uint8Array): Generator<string> {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let at = 0; at < entries.length;) {
    const length = view.getUint16(at + 16, true);
    const name = decoder.decode(entries.subarray(at + 19, entries.indexOf(0, at + 19)));
    if (entries[at + 18] === DT_DIR && name !== "." && name !== "..") yield name;
    at += length;
  }
}
