import { AT_FDCWD, O_CLOEXEC, O_RDONLY, O_WRONLY } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Operation } from "./program.ts";
import { syscallFailure } from "./syscall_failure.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The steps that write to a file that is there, in one write: what the files of /proc, /sys and cgroups want.
 * @param why how the message of each step begins, default `write "<path>"`.
 */
export function writeFile(path: string, data: string | Uint8Array, why: string = `write ${quote(path)}`): Operation[] {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  const fd = { ref: path };
  return [
    { syscall: "openat", args: [AT_FDCWD, path, O_WRONLY | O_CLOEXEC], store: path, why },
    { syscall: "write", args: [fd, bytes, bytes.length], why },
    { syscall: "close", args: [fd], why },
  ];
}

/** Writes to a file that is there, in one write and one entry of the kernel. @throws what its errno stands for. */
export function kernelWrite(kernel: Kernel, path: string, data: string | Uint8Array): void {
  kernelWriteAll(kernel, [[path, data]]);
}

/**
 * Writes to several files in their order, as `kernelWrite` does. All are tried.
 * @throws what the errno of the first that failed stands for.
 */
export function kernelWriteAll(
  kernel: Kernel,
  files: readonly (readonly [path: string, data: string | Uint8Array])[],
): void {
  const results = kernel.run(files.flatMap(([path, data], index): Operation[] => {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    const fd = { ref: `fd${index}` };
    const why = `write ${quote(path)}`;
    const next = { goto: index + 1 < files.length ? `open${index + 1}` : "end" };
    return [
      {
        syscall: "openat",
        args: [AT_FDCWD, path, O_WRONLY | O_CLOEXEC],
        store: fd.ref,
        label: `open${index}`,
        onError: next,
        why,
      },
      { syscall: "write", args: [fd, bytes, bytes.length], store: `written${index}`, onError: "ignore", why },
      { syscall: "close", args: [fd], onError: "ignore", why },
    ];
  }));
  files.forEach(([path], index) => {
    const fd = results.get(`fd${index}`);
    if (fd < 0) throw syscallFailure(`write ${quote(path)}`, "openat", fd);
    const written = results.get(`written${index}`);
    if (written < 0) throw syscallFailure(`write ${quote(path)}`, "write", written);
  });
}

/**
 * Reads a small file in one read and one entry of the kernel: /proc, /sys, cgroups.
 * @param limitBytes the rest of a longer file is left out.
 * @throws what its errno stands for.
 */
export function kernelRead(kernel: Kernel, path: string, limitBytes = 4096): string {
  const why = `read ${quote(path)}`;
  const fd = { ref: "fd" };
  const results = kernel.run([
    { syscall: "openat", args: [AT_FDCWD, path, O_RDONLY | O_CLOEXEC], store: "fd", why },
    {
      syscall: "read",
      args: [fd, { out: "data", size: limitBytes }, limitBytes],
      store: "length",
      onError: "ignore",
      why,
    },
    { syscall: "close", args: [fd], onError: "ignore", why },
  ]);
  const length = results.get("length");
  if (length < 0) throw syscallFailure(why, "read", length);
  return decoder.decode(results.bytes("data").subarray(0, length));
}

const quote = (path: string): string => JSON.stringify(path);
