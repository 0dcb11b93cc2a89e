/** So much may wait for a process before those who write have to; one more write may come on top. */
const mostWaitingBytes = 1024 * 1024;

/**
 * A process's standard input, for everybody who has something for it. What waits to be read is limited for all of them
 * together: what a client left behind that has gone still waits.
 */
export class WaitingInput {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #waiting = 0;
  #open = true;
  #changed = Promise.withResolvers<void>();

  constructor(stream: WritableStream<Uint8Array>) {
    this.#writer = stream.getWriter();
    // Who writes next is told.
    this.#writer.closed.catch(() => {});
  }

  /** Bytes that the process has not taken yet. */
  get waitingBytes(): number {
    return this.#waiting;
  }

  /**
   * Resolves when there was room, and the process is to get the bytes. One that has closed its input goes on without them;
   * never rejects.
   * @param gone resolves when whoever writes has gone: what had no room until then is dropped.
   */
  async write(bytes: Uint8Array, gone: Promise<unknown>): Promise<void> {
    let left = false;
    while (this.#open && this.#waiting >= mostWaitingBytes && !left) {
      left = await Promise.race([gone.then(() => true), this.#changed.promise.then(() => false)]);
    }
    if (!this.#open || left) return;
    this.#waiting += bytes.length;
    this.#writer.write(bytes).catch(() => this.#open = false).finally(() => {
      this.#waiting -= bytes.length;
      this.#tell();
    });
  }

  /** The end of the input, for everybody, behind what waits. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    // A process that has ended needs no end of its input.
    this.#writer.close().catch(() => {});
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
