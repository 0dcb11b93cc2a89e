/** How long a container's output is held back, so that an early failure still gets a status of its own. */
export interface HoldBack {
  /** The most bytes that are held. */
  readonly bytes: number;
  /** Milliseconds from the first byte. */
  readonly ms: number;
}

export interface OutputOptions {
  readonly hold: HoldBack;
  /** Counts the bytes and drops them: the answer to HEAD has none. */
  readonly discard?: boolean;
  /** Whether it is to be held back no longer, once it may flow: by default it need not. */
  readonly mayFlow?: (output: Output) => boolean;
  readonly onFirstByte: () => void;
  /** Waited for before each part of a body, with the number of bytes that have come. */
  readonly letPass: (bytes: number) => Promise<void>;
  /** Told once, when the output can be held back no longer: `stream` has to take it from here. */
  readonly onFull: () => void;
}

/**
 * A container's stdout on its way into a response. It is held back at first; what follows the head goes through uncopied
 * and no faster than the client takes it.
 */
export class Output {
  /** Bytes read so far. */
  bytes = 0;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  readonly #options: OutputOptions;
  readonly #holding: Promise<void>;
  readonly #held: Uint8Array<ArrayBuffer>[] = [];
  #draining: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** It would flow if it might. */
  #late = false;
  #flowing = false;
  #closed = false;

  constructor(stdout: ReadableStream<Uint8Array<ArrayBuffer>>, options: OutputOptions) {
    this.#reader = stdout.getReader();
    this.#options = options;
    this.#holding = this.#hold();
  }

  /** Reads until the end of the output, or until it flows. */
  async #hold(): Promise<void> {
    const { hold, discard, onFirstByte } = this.#options;
    while (true) {
      const { done, value } = await this.#reader.read();
      if (done) {
        this.#closed = true;
        break;
      }
      if (this.bytes === 0) {
        onFirstByte();
        if (discard !== true) this.#timer = setTimeout(() => this.#due(), hold.ms);
      }
      this.bytes += value.length;
      if (discard === true) continue;
      this.#held.push(value);
      if (this.#flowing) return;
      // Once the process has ended, what is left is less than a pipe holds, and is better answered whole.
      if ((this.bytes >= hold.bytes || this.#late) && this.#draining === undefined) {
        this.#flow();
        if (this.#flowing) return;
      }
    }
  }

  /** A loop that was kept busy sees its timers before the exit that has long happened: it gets one more turn to. */
  #due(): void {
    this.#timer = setTimeout(() => this.#flow(), 0);
  }

  #flow(): void {
    clearTimeout(this.#timer);
    if (this.#flowing || this.#draining !== undefined) return;
    this.#late = true;
    if (this.#options.mayFlow?.(this) === false) return;
    this.#flowing = true;
    this.#options.onFull();
  }

  /**
   * Takes over what the pipe still holds; called when the process has ended. A slow client holds no container.
   * @throws what reading throws.
   */
  drain(): Promise<void> {
    clearTimeout(this.#timer);
    return this.#draining ??= this.#takeOver();
  }

  async #takeOver(): Promise<void> {
    await this.#holding;
    while (!this.#closed) {
      const { done, value } = await this.#reader.read();
      if (done) this.#closed = true;
      else {
        this.bytes += value.length;
        this.#held.push(value);
      }
    }
  }

  /** Drops bytes at the beginning, where nothing has left. */
  skip(count: number): void {
    for (let left = count; left > 0;) {
      const [first] = this.#held;
      if (first === undefined) return;
      if (first.length <= left) this.#held.shift();
      else this.#held[0] = first.subarray(left);
      left -= first.length;
    }
  }

  /** What is held: the whole output after `drain`, where nothing of it has left. */
  whole(): Uint8Array<ArrayBuffer> {
    const [first] = this.#held;
    if (this.#held.length === 1 && first !== undefined) return first;
    const all = new Uint8Array(this.#held.reduce((sum, chunk) => sum + chunk.length, 0));
    let offset = 0;
    for (const chunk of this.#held) {
      all.set(chunk, offset);
      offset += chunk.length;
    }
    return all;
  }

  /**
   * The output as a body that begins with what was held back.
   * @param outcome waited for at the end: the body ends cleanly only if it resolves.
   * @param onCancel told when the client takes no more.
   */
  stream(outcome: Promise<void>, onCancel: () => void): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      pull: async (controller) => {
        await this.#options.letPass(this.bytes);
        const chunk = await this.#next();
        if (chunk !== undefined) return controller.enqueue(chunk);
        await outcome;
        controller.close();
      },
      cancel: onCancel,
    }, { highWaterMark: 0 });
  }

  async #next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const held = this.#held.shift();
    if (held !== undefined) return held;
    await this.#holding;
    if (this.#held.length === 0 && this.#draining === undefined && !this.#closed) {
      const { done, value } = await this.#reader.read();
      if (!done) {
        this.bytes += value.length;
        return value;
      }
      this.#closed = true;
    }
    await this.#draining;
    return this.#held.shift();
  }
}
