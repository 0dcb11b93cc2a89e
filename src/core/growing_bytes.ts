/**
 * Bytes that come in pieces, joined as they come. A list of the pieces would cost a hundred times their size where a
 * stranger sends them one byte at a time.
 */
export class GrowingBytes {
  #buffer = new Uint8Array(4096);
  #length = 0;

  /** How many there are. */
  get length(): number {
    return this.#length;
  }

  push(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, this.#buffer.length * 2));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = length;
  }

  /** All of them: a view, valid until the next `push`. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length);
  }
}
