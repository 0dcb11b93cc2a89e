/** How many pieces may wait, and how large one is at most. */
const slots = 8;
const slotBytes = 512 << 10;

/** Words of the head: whether it was stopped, how many pieces came and how many were taken, the length of each slot's. */
const word = { stopped: 0, written: 1, taken: 2, lengths: 3 } as const;
const headBytes = 4 * (word.lengths + slots);
/** A digest in hex, behind the head. */
const digestBytes = 128;

/** How long a thread sleeps before it looks whether it was stopped, in milliseconds. */
const lookMs = 50;

/** Nobody wants what goes through the ring any more, or the thread at its other end has failed. */
export class RingStopped extends Error {}

/**
 * Bytes on their way from one thread to another, in memory that both have: who writes waits while it is full, who reads waits
 * while it is empty. It waits without turning its event loop.
 */
export class Ring {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  /** @param shared what the other thread's has. Default: a new one. */
  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(headBytes + digestBytes + slots * slotBytes)) {
    this.shared = shared;
    this.#words = new Int32Array(shared, 0, headBytes / 4);
  }

  /** Both ends throw `RingStopped` from now on. */
  stop(): void {
    Atomics.store(this.#words, word.stopped, 1);
  }

  /** @throws RingStopped. */
  check(): void {
    if (Atomics.load(this.#words, word.stopped) !== 0) throw new RingStopped("it was stopped");
  }

  /** Copies bytes in. @throws RingStopped. */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += slotBytes) this.#put(bytes.subarray(at, at + slotBytes));
  }

  /** Says that all was written. @param digest what was found of it, in hex. @throws RingStopped. */
  end(digest: string): void {
    const bytes = new TextEncoder().encode(digest);
    new Uint8Array(this.shared, headBytes, digestBytes).set(bytes.subarray(0, digestBytes));
    this.#put(new Uint8Array());
  }

  /** What `end` was given. */
  get digest(): string {
    // Not decoded in place: decoders take no shared memory.
    const text = new TextDecoder().decode(new Uint8Array(this.shared, headBytes, digestBytes).slice());
    return text.replace(/\0+$/, "");
  }

  /** The pieces, each valid until the next is asked for. @throws RingStopped. */
  *pieces(): Generator<Uint8Array> {
    const buffer = new Uint8Array(slotBytes);
    for (let taken = 0;; taken++) {
      this.#waitWhile(word.written, taken);
      const slot = taken % slots;
      const length = Atomics.load(this.#words, word.lengths + slot);
      if (length === 0) return;
      buffer.set(this.#slot(slot, length));
      Atomics.store(this.#words, word.taken, taken + 1);
      Atomics.notify(this.#words, word.taken);
      yield buffer.subarray(0, length);
    }
  }

  #put(bytes: Uint8Array): void {
    const written = Atomics.load(this.#words, word.written);
    this.#waitWhile(word.taken, written - slots);
    const slot = written % slots;
    this.#slot(slot, bytes.length).set(bytes);
    Atomics.store(this.#words, word.lengths + slot, bytes.length);
    Atomics.store(this.#words, word.written, written + 1);
    Atomics.notify(this.#words, word.written);
  }

  #slot(index: number, length: number): Uint8Array {
    return new Uint8Array(this.shared, headBytes + digestBytes + index * slotBytes, length);
  }

  #waitWhile(index: number, value: number): void {
    this.check();
    while (Atomics.load(this.#words, index) === value) {
      Atomics.wait(this.#words, index, value, lookMs);
      this.check();
    }
  }
}
