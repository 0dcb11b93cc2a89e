import type { Memory } from "../core/host.ts";
import { CLOCK_THREAD_CPUTIME_ID } from "./flags.ts";
import type { Kernel } from "./kernel.ts";

/** How long this thread sleeps at a time: no longer does anything that comes meanwhile wait for it. */
const dozeNanos = 250_000;
/** A turn of the event loop that takes less of the processor had little else to do. */
const idleNanos = 100_000;

interface Waiter {
  readonly done: () => boolean;
  readonly doze: (atMost: Uint8Array) => void;
  readonly resolve: () => void;
}

/**
 * Waits for what takes about as long as some turns of the event loop, as a child on its way to its execve does: too short for
 * a timer, too long to hold everything else up for. Where this thread has nothing else to do it sleeps, and is woken at once.
 */
export class ShortWaits {
  readonly #kernel: Pick<Kernel, "attempt">;
  readonly #time: Pick<Memory, "address" | "bytes">;
  readonly #clock: BigInt64Array;
  readonly #waiting = new Set<Waiter>();

  constructor(kernel: Pick<Kernel, "attempt" | "buffer">) {
    this.#kernel = kernel;
    this.#time = kernel.buffer(16);
    this.#clock = new BigInt64Array(this.#time.bytes.buffer, this.#time.bytes.byteOffset, 2);
  }

  /**
   * @param done tells whether it has come. @param doze sleeps until it comes, or so long (`struct timespec`), or not at all.
   * @returns when it has come.
   */
  until(done: () => boolean, doze: (atMost: Uint8Array) => void): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.add({ done, doze, resolve });
      if (this.#waiting.size === 1) void this.#turn();
    });
  }

  /** Lets the event loop turn once. @returns whether it had little else to do. */
  async idle(): Promise<boolean> {
    const before = this.#used();
    await new Promise((resolve) => setImmediate(resolve));
    return this.#used() - before < idleNanos;
  }

  /** Looks once in each turn of the event loop, as long as somebody waits. */
  async #turn(): Promise<void> {
    while (this.#waiting.size > 0) {
      const idle = await this.idle();
      for (const waiter of this.#waiting) {
        if (!waiter.done()) continue;
        this.#waiting.delete(waiter);
        waiter.resolve();
      }
      const [first] = this.#waiting;
      if (idle) first?.doze(atMost);
    }
  }

  /** Nanoseconds of the processor that this thread has had: on a busy machine the time of day says nothing of its work. */
  #used(): number {
    this.#kernel.attempt("clock_gettime", CLOCK_THREAD_CPUTIME_ID, this.#time.address);
    return Number(this.#clock[0]) * 1e9 + Number(this.#clock[1]);
  }
}

const atMost = new Uint8Array(new BigInt64Array([0n, BigInt(dozeNanos)]).buffer);
