/** Keeps the last bytes of a stream. */
export class Tail {
  readonly #limit: number;
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  /** @param limit how many bytes to keep. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  push(chunk: Uint8Array): void {
    // A short piece of a large buffer would keep the whole buffer: only what is kept is copied.
    const kept = chunk.length > this.#limit ? chunk.slice(-this.#limit) : chunk.slice();
    this.#chunks.push(kept);
    this.#bytes += kept.length;
    for (let first = this.#chunks[0]; first && this.#bytes - first.length >= this.#limit; first = this.#chunks[0]) {
      this.#chunks.shift();
      this.#bytes -= first.length;
    }
  }

  /** The kept text, cut to the limit; undefined where nothing came. */
  text(): string | undefined {
    if (this.#bytes === 0) return undefined;
    const decoder = new TextDecoder();
    let text = "";
    for (const chunk of this.#chunks) text += decoder.decode(chunk, { stream: true });
    text += decoder.decode();
    return text.length > this.#limit ? text.slice(-this.#limit) : text;
  }
}
