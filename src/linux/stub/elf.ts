import type { Host } from "../../core/host.ts";
import { init } from "./layout.ts";

/** Sizes of the file's header and of one entry of its program header table. @see https://man7.org/linux/man-pages/man5/elf.5.html */
const headerSize = 64;
const entrySize = 56;

const machine: Readonly<Record<Host["arch"], number>> = { x64: 62, arm64: 183 };
const executable = 2;
const [load, gnuStack] = [1, 0x6474e551];
const [canExecute, canWrite, canRead] = [1, 2, 4];
const pageBytes = 0x10000;

/**
 * Makes a program of machine code: one that begins at its first byte, needs no library, and has the init stub's writable
 * memory. Pages of that which are never touched cost nothing.
 */
export function elf(arch: Host["arch"], code: Uint8Array): Uint8Array<ArrayBuffer> {
  const segments = [
    { type: load, flags: canRead | canExecute, address: init.text, inFile: true, size: 0, align: pageBytes },
    { type: load, flags: canRead | canWrite, address: init.memory, inFile: false, size: init.size, align: pageBytes },
    // Without it the kernel makes the stack executable.
    { type: gnuStack, flags: canRead | canWrite, address: 0, inFile: false, size: 0, align: 16 },
  ];
  const start = headerSize + segments.length * entrySize;
  const bytes = new Uint8Array(start + code.length);
  const view = new DataView(bytes.buffer);
  const word = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  // Magic number, 64 bits, little endian, version 1.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, executable, true);
  view.setUint16(18, machine[arch], true);
  view.setUint32(20, 1, true);
  word(24, init.text + start);
  word(32, headerSize);
  view.setUint16(52, headerSize, true);
  view.setUint16(54, entrySize, true);
  view.setUint16(56, segments.length, true);
  for (const [index, { type, flags, address, inFile, size, align }] of segments.entries()) {
    const at = headerSize + index * entrySize;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    word(at + 16, address);
    word(at + 24, address);
    word(at + 32, inFile ? bytes.length : 0);
    word(at + 40, inFile ? bytes.length : size);
    word(at + 48, align);
  }
  bytes.set(code, start);
  return bytes;
}
