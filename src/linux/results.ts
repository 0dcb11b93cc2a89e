import { Failure } from "../core/errors.ts";
import type { Arena } from "./arena.ts";
import type { Encoded } from "./encode.ts";

/** A program's memory after it has run. */
export interface Stored {
  readonly arena: Pick<Arena, "bytes" | "read">;
  readonly encoded: Encoded;
}

/** What a program stored, copied out of the memory that the next one will use. */
export class Results {
  /** The result of the last step. */
  readonly last: number;
  readonly #values = new Map<string, number>();
  readonly #bytes = new Map<string, Uint8Array<ArrayBuffer>>();

  constructor({ arena, encoded }: Stored, last: number) {
    this.last = last;
    for (const [name, { offset, size }] of encoded.slots) {
      if (size === undefined) this.#values.set(name, arena.read(offset));
      else this.#bytes.set(name, arena.bytes.slice(offset, offset + size));
    }
  }

  /** The result of the step that stored under a name: -errno where an error was ignored, 0 where it was jumped over. */
  get(store: string): number {
    const value = this.#values.get(store);
    if (value !== undefined) return value;
    throw new Failure("invalid_argument", `cannot read the result ${JSON.stringify(store)}: no step stores it`);
  }

  /** The bytes that the kernel filled. */
  bytes(out: string): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes.get(out);
    if (bytes !== undefined) return bytes;
    throw new Failure("invalid_argument", `cannot read the bytes ${JSON.stringify(out)}: no step fills them`);
  }

  /** A signed 32-bit word of the bytes that the kernel filled. @param at its first byte, default 0. */
  int32(out: string, at = 0): number {
    const bytes = this.bytes(out);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getInt32(at, true);
  }
}
