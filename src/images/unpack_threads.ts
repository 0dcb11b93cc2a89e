import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import * as v from "valibot";
import { errorCodes, Failure } from "../core/errors.ts";
import type { UnpackJob } from "./unpack_job.ts";

/** More would hinder each other on the disk. */
const mostThreads = 4;

/** What a thread is told. */
export interface UnpackRequest {
  readonly job: UnpackJob;
  /** One number, which is not zero as soon as nobody wants it any more. */
  readonly aborted: SharedArrayBuffer;
}

/** What it says: how far it is, and how it has ended. */
export type UnpackReply =
  | { readonly kind: "ready" }
  | { readonly kind: "read"; readonly bytes: number }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly error: FailedWith };

const FailedSchema = v.object({
  code: v.picklist(errorCodes),
  message: v.string(),
  syscall: v.optional(v.string()),
  errno: v.optional(v.string()),
  details: v.optional(v.record(v.string(), v.unknown())),
});
/** An error on its way to another thread. */
export type FailedWith = v.InferOutput<typeof FailedSchema>;

interface Work {
  readonly job: UnpackJob;
  readonly onRead: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Threads that unpack layers, so that the event loop is free and each processor has work. They are made when they are needed,
 * and live as long as the process: beginning one takes longer than a small layer.
 */
export class UnpackThreads {
  readonly #entry: URL;
  readonly #idle: Worker[] = [];
  readonly #waiting: ((worker: Worker | undefined) => void)[] = [];
  readonly #most: number;
  #count = 0;
  #broken = false;

  /** @param entry the module that a thread runs. */
  constructor(entry: URL, most: number = Math.min(availableParallelism(), mostThreads)) {
    this.#entry = entry;
    this.#most = most;
  }

  /**
   * Unpacks a layer.
   * @returns false where this machine has no threads for it, and nothing has been done.
   * @throws as `runJob`; the signal's reason; internal when the thread has died.
   */
  async run(job: UnpackJob, onRead: (bytes: number) => void, signal?: AbortSignal): Promise<boolean> {
    const worker = await this.#take();
    if (worker === undefined) return false;
    let alive = false;
    try {
      signal?.throwIfAborted();
      alive = true;
      await this.#work(worker, { job, onRead, signal }, () => alive = false);
    } finally {
      this.#give(worker, alive || signal?.aborted === true);
    }
    return true;
  }

  async #take(): Promise<Worker | undefined> {
    if (this.#broken) return undefined;
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#count >= this.#most) return await new Promise((resolve) => this.#waiting.push(resolve));
    this.#count++;
    try {
      return await begun(this.#entry);
    } catch {
      // A program that was put into one file has no module for a thread: its layers are unpacked where it runs.
      this.#count--;
      this.#broken = true;
      for (const next of this.#waiting.splice(0)) next(undefined);
      return undefined;
    }
  }

  #give(worker: Worker, alive: boolean): void {
    const next = this.#waiting.shift();
    if (alive) {
      if (next === undefined) this.#idle.push(worker);
      else next(worker);
      return;
    }
    this.#count--;
    if (next !== undefined) void this.#take().then(next);
  }

  async #work(worker: Worker, { job, onRead, signal }: Work, onDeath: () => void): Promise<void> {
    const aborted = new Int32Array(new SharedArrayBuffer(4));
    const abort = () => Atomics.store(aborted, 0, 1);
    signal?.addEventListener("abort", abort);
    const ended = Promise.withResolvers<void>();
    const onMessage = (reply: UnpackReply) => {
      if (reply.kind === "read") onRead(reply.bytes);
      if (reply.kind === "done") ended.resolve();
      if (reply.kind === "failed") ended.reject(failureOf(reply.error));
    };
    const onEnd = (why: unknown) => {
      onDeath();
      ended.reject(new Failure("internal", "cannot unpack the layer: the thread for it has ended", { cause: why }));
    };
    worker.on("message", onMessage).on("error", onEnd).on("exit", onEnd);
    // A command waits for it; a thread without work holds nobody up.
    worker.ref();
    try {
      worker.postMessage({ job, aborted: aborted.buffer } satisfies UnpackRequest);
      await ended.promise;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      worker.unref();
      worker.off("message", onMessage).off("error", onEnd).off("exit", onEnd);
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** Begins a thread and waits until it can work. */
async function begun(entry: URL): Promise<Worker> {
  const worker = new Worker(entry);
  const ready = Promise.withResolvers<void>();
  const onReady = () => ready.resolve();
  worker.on("message", onReady).on("error", ready.reject).on("exit", ready.reject);
  try {
    await ready.promise;
  } finally {
    worker.off("message", onReady).off("error", ready.reject).off("exit", ready.reject);
  }
  // Without a listener its error would be everybody's.
  worker.on("error", () => {});
  worker.unref();
  return worker;
}

function failureOf(reply: FailedWith): Failure {
  const { code, message, ...options } = v.parse(FailedSchema, reply);
  return new Failure(code, message, dropUndefined(options));
}

function dropUndefined<T extends object>(from: T) {
  return Object.fromEntries(Object.entries(from).filter(([, value]) => value !== undefined));
}
