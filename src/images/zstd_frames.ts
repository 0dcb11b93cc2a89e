import { Failure } from "../core/errors.ts";

type State = "magic" | "descriptor" | "header" | "block" | "content" | "checksum" | "skip_size" | "skip";

const magic = new Uint8Array([0x28, 0xb5, 0x2f, 0xfd]);

/**
 * Parts a zstd stream into its frames.
 *
 * A layer may have many (zstd:chunked, pzstd), with skippable ones between that carry an index; `node:zlib` stops at the
 * first end without a word, so each frame is given to a decompressor of its own.
 * @see https://www.rfc-editor.org/rfc/rfc8878#section-3
 */
export class ZstdFrames {
  #state: State = "magic";
  /** Bytes that the state still waits for. */
  #need = 4;
  /** What they were, as a little-endian number, in the states that read one. */
  #value = 0;
  #shift = 0;
  #checksum = false;
  #last = false;

  /** Whether the stream may end here. */
  get complete(): boolean {
    return this.#state === "magic" && this.#need === 4;
  }

  /**
   * Takes the next bytes of the stream.
   * @returns pieces of frames, each frame's last one followed by `end`; skippable frames are left out.
   * @throws data_loss for what is no zstd.
   */
  *split(chunk: Uint8Array): Generator<Uint8Array | "end"> {
    let start = 0;
    for (let at = 0; at < chunk.length;) {
      const taken = this.#isNumber ? 1 : Math.min(this.#need, chunk.length - at);
      if (this.#isNumber) {
        this.#value += (chunk[at] ?? 0) * 2 ** this.#shift;
        this.#shift += 8;
      }
      this.#need -= taken;
      at += taken;
      while (this.#need === 0) {
        const before = this.#state;
        this.#next();
        if (before === "magic") start = at;
        if (this.#state === "descriptor") yield magic;
        if (this.#state === "magic" && before !== "skip") {
          yield chunk.subarray(start, at);
          yield "end";
        }
      }
    }
    if (this.#inFrame && start < chunk.length) yield chunk.subarray(start);
  }

  get #isNumber(): boolean {
    return this.#state !== "content" && this.#state !== "skip" && this.#state !== "header";
  }

  get #inFrame(): boolean {
    return this.#state !== "magic" && this.#state !== "skip_size" && this.#state !== "skip";
  }

  #enter(state: State, need: number): void {
    this.#state = state;
    this.#need = need;
    this.#value = 0;
    this.#shift = 0;
  }

  #next(): void {
    const value = this.#value;
    switch (this.#state) {
      case "magic":
        if (value === 0xfd2fb528) return this.#enter("descriptor", 1);
        if (value >>> 4 === 0x184d2a5) return this.#enter("skip_size", 4);
        throw new Failure("data_loss", "cannot decompress zstd: what follows is no frame");
      case "descriptor": {
        const single = (value & 0x20) !== 0;
        this.#checksum = (value & 4) !== 0;
        const dictionary = [0, 1, 2, 4][value & 3] ?? 0;
        const size = [single ? 1 : 0, 2, 4, 8][value >> 6] ?? 0;
        return this.#enter("header", (single ? 0 : 1) + dictionary + size);
      }
      case "header":
        return this.#enter("block", 3);
      case "block": {
        const type = (value >> 1) & 3;
        if (type === 3) throw new Failure("data_loss", "cannot decompress zstd: a block has a reserved type");
        this.#last = (value & 1) !== 0;
        return this.#enter("content", type === 1 ? 1 : value >> 3);
      }
      case "content":
        if (!this.#last) return this.#enter("block", 3);
        return this.#checksum ? this.#enter("checksum", 4) : this.#enter("magic", 4);
      case "checksum":
      case "skip":
        return this.#enter("magic", 4);
      case "skip_size":
        return this.#enter("skip", value);
    }
  }
}
