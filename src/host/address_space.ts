import { Failure } from "../core/errors.ts";
import type { Memory } from "../core/host.ts";

/** The few functions of the C library that an adapter reaches through its FFI. Results are as in C: -1 is a failure. */
export interface Libc {
  /** Maps zeroed, private, readable and writable pages, anywhere. Returns -1 or the address. */
  mmap(byteLength: number): number;
  munmap(address: number, byteLength: number): number;
  mprotect(address: number, byteLength: number, protection: number): number;
  close(fd: number): number;
  /** @param argument the third one, an `int`. */
  fcntl(fd: number, operation: number, argument: number): number;
  /** Fills the bytes from their beginning. */
  read(fd: number, bytes: Uint8Array): number;
  write(fd: number, bytes: Uint8Array): number;
  /** The memory at an address, as JavaScript sees it. */
  view(address: number, byteLength: number): ArrayBuffer;
  /** A JavaScript function that calls `int64_t f(void *)` at an address. */
  callable(address: number): (argument: number) => number;
}

/** File names of the C library: glibc's, then musl's on each processor. */
const libcNames = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"] as const;

/** `PROT_READ | PROT_WRITE` and `MAP_PRIVATE | MAP_ANONYMOUS`: what `Libc.mmap` asks for. */
export const mapping = { protection: 0x3, flags: 0x22 } as const;

const readAndExecute = 0x5;
const pageBytes = 4096;

/**
 * Opens the first C library that there is.
 * @throws failed_precondition when there is none that this process can load.
 */
export function openLibc<T>(open: (name: string) => T): T {
  const reasons: string[] = [];
  for (const name of libcNames) {
    try {
      return open(name);
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Failure(
    "failed_precondition",
    `cannot load the C library: tried ${libcNames.join(", ")}: ${reasons.join("; ")}`,
  );
}

/** @see Host.map */
export function map(libc: Libc, byteLength: number): Memory {
  if (!Number.isSafeInteger(byteLength) || byteLength <= 0) {
    throw new Failure("invalid_argument", `cannot map ${byteLength} bytes: want a whole number above zero`);
  }
  const length = Math.ceil(byteLength / pageBytes) * pageBytes;
  const address = libc.mmap(length);
  if (address === -1) {
    throw new Failure("resource_exhausted", `cannot map ${length} bytes: the kernel gives no more memory`, {
      syscall: "mmap",
    });
  }
  const buffer = libc.view(address, length);
  let mapped = true;
  return {
    address,
    bytes: new Uint8Array(buffer),
    release() {
      if (!mapped) return;
      mapped = false;
      // Detached first, so that a view that is still held is empty and does not point at pages that are gone.
      buffer.transfer(0);
      libc.munmap(address, length);
    },
  };
}

/** @see Host.code */
export function loadCode(libc: Libc, code: Uint8Array): (argument: number) => number {
  const memory = map(libc, code.byteLength);
  memory.bytes.set(code);
  if (libc.mprotect(memory.address, memory.bytes.byteLength, readAndExecute) !== 0) {
    memory.release();
    throw new Failure(
      "failed_precondition",
      "cannot make machine code executable: the kernel refuses it: " +
        "lift MemoryDenyWriteExecute (systemd) or execmem (SELinux) for this process",
      { syscall: "mprotect" },
    );
  }
  return libc.callable(memory.address);
}
