/** Reads a stream of bytes by what stands in it. What was read too far is kept for the next call. */
export class ByteReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  #held: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** Memory of our own that `#held` may lie in. */
  #room: Uint8Array<ArrayBuffer> | undefined;
  #reading: Promise<boolean> | undefined;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#reader = stream.getReader();
  }

  /** What has come and was not taken. */
  get held(): number {
    return this.#held.length;
  }

  /** Waits for more. @returns false at the end. */
  fill(): Promise<boolean> {
    return this.#reading ??= this.#fill().finally(() => this.#reading = undefined);
  }

  async #fill(): Promise<boolean> {
    const { done, value } = await this.#reader.read();
    if (done) return false;
    if (this.#held.length === 0) this.#held = value;
    else this.#append(value);
    return true;
  }

  /** Joins in memory that doubles: who sends a byte at a time does not have all of it copied for each. */
  #append(value: Uint8Array<ArrayBuffer>): void {
    const held = this.#held;
    let [room, start] = [this.#room, held.byteOffset];
    const { length } = held;
    if (room?.buffer !== held.buffer || start + length + value.length > room.length) {
      room = this.#room = new Uint8Array(Math.max(2 * length, length + value.length));
      start = 0;
      room.set(held);
    }
    // What was taken lies before, and stays as it is.
    room.set(value, start + length);
    this.#held = room.subarray(start, start + length + value.length);
  }

  /** Takes what is there, up to so many bytes. */
  take(limit = Infinity): Uint8Array<ArrayBuffer> {
    const taken = this.#held.subarray(0, limit);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  /**
   * Takes the bytes before the first mark, and drops the mark.
   * @returns undefined where the stream ends first. @throws `tooLong()` where so many bytes have none.
   */
  async until(mark: Mark, limit: number, tooLong: () => Error): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (let from = 0;;) {
      const at = find(this.#held, mark, from);
      if (at >= 0) {
        if (at > limit) throw tooLong();
        const taken = this.take(at);
        this.#held = this.#held.subarray(mark.length);
        return taken;
      }
      if (this.#held.length > limit) throw tooLong();
      from = Math.max(0, this.#held.length - mark.length + 1);
      if (!await this.fill()) return undefined;
    }
  }

  /** Lets go of the stream; what waits ends. */
  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

type Mark = readonly number[];
/** The end of a line, and that of a head. */
export const lineEnd: Mark = [13, 10];
export const headEnd: Mark = [13, 10, 13, 10];

function find(bytes: Uint8Array, mark: Mark, from: number): number {
  for (let at = bytes.indexOf(mark[0] as number, from); at >= 0; at = bytes.indexOf(mark[0] as number, at + 1)) {
    if (mark.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
