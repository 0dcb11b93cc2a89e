import { Failure } from "../core/errors.ts";
import type { Memory } from "../core/host.ts";

/** Thrown where a program does not fit; the caller tries again in a larger arena. */
export class ArenaFull extends Error {
  override readonly name = "ArenaFull";
}

const encoder = new TextEncoder();

/**
 * Memory that is filled from its start and thrown away as a whole. Offsets are bytes from its start; a value of 64 bits is
 * written as two words, since numbers hold addresses exactly and BigInt is slow.
 */
export class Arena {
  readonly memory: Memory;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where the next reservation begins. */
  cursor = 0;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #base: number;

  /** @param base where the bytes will be when they are used, if not here: in another process. */
  constructor(memory: Memory, base = memory.address) {
    this.memory = memory;
    this.bytes = memory.bytes;
    this.#words = new Int32Array(memory.bytes.buffer, memory.bytes.byteOffset, memory.bytes.byteLength >> 2);
    this.#base = base;
  }

  /** The address of an offset. */
  address(offset: number): number {
    return this.#base + offset;
  }

  /** Takes bytes on a boundary of eight, as they are. @throws ArenaFull. */
  reserve(byteLength: number): number {
    const start = (this.cursor + 7) & ~7;
    if (start + byteLength > this.bytes.length) throw new ArenaFull();
    this.cursor = start + byteLength;
    return start;
  }

  /** Takes bytes that are zero. @throws ArenaFull. */
  zeroed(byteLength: number): number {
    const start = this.reserve(byteLength);
    this.bytes.fill(0, start, start + byteLength);
    return start;
  }

  /** Copies bytes. @throws ArenaFull. */
  copy(data: Uint8Array): number {
    const start = this.reserve(data.length);
    this.bytes.set(data, start);
    return start;
  }

  /** Writes a string as UTF-8 and a NUL. @throws ArenaFull; invalid_argument when it holds a NUL itself. */
  string(text: string): number {
    const { bytes, cursor: start } = this;
    const length = text.length;
    if (start + length * 3 + 1 > bytes.length) throw new ArenaFull();
    let end = start;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit === 0) {
        throw new Failure("invalid_argument", `cannot pass ${JSON.stringify(text)} to the kernel: it holds a NUL`);
      }
      if (unit > 0x7f) {
        end = start + i + encoder.encodeInto(text.slice(i), bytes.subarray(start + i)).written;
        if (text.includes("\0", i)) {
          throw new Failure("invalid_argument", `cannot pass ${JSON.stringify(text)} to the kernel: it holds a NUL`);
        }
        break;
      }
      bytes[end++] = unit;
    }
    bytes[end] = 0;
    this.cursor = end + 1;
    return start;
  }

  /** Writes 64 bits, sign-extended. @throws invalid_argument for what is no whole number, or too large to be exact. */
  word(offset: number, value: number): void {
    const index = offset >> 2;
    if ((value | 0) === value) {
      this.#words[index] = value;
      this.#words[index + 1] = value >> 31;
      return;
    }
    if (!Number.isSafeInteger(value)) {
      throw new Failure("invalid_argument", `cannot pass ${value} to the kernel: want a whole number below 2^53`);
    }
    this.#words[index] = value;
    this.#words[index + 1] = Math.floor(value / 0x1_0000_0000);
  }

  /** Writes 64 bits, whatever sign they mean. */
  wide(offset: number, value: bigint): void {
    const index = offset >> 2;
    this.#words[index] = Number(value & 0xffff_ffffn);
    this.#words[index + 1] = Number((value >> 32n) & 0xffff_ffffn);
  }

  /** Writes the address of another place in this arena. */
  pointer(offset: number, target: number): void {
    const index = offset >> 2;
    const address = this.#base + target;
    this.#words[index] = address;
    this.#words[index + 1] = address / 0x1_0000_0000;
  }

  /** Writes 32 bits. */
  int32(offset: number, value: number): void {
    this.#words[offset >> 2] = value;
  }

  /** Reads 32 bits, signed. */
  readInt32(offset: number): number {
    return this.#words[offset >> 2] as number;
  }

  /** Reads 64 bits, signed, as far as a number is exact. */
  read(offset: number): number {
    const index = offset >> 2;
    return (this.#words[index + 1] as number) * 0x1_0000_0000 + ((this.#words[index] as number) >>> 0);
  }
}
