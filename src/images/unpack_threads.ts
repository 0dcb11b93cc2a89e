import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import * as v from "valibot";
import { errorCodes, Failure } from "../core/errors.ts";
import { Ring } from "./ring.ts";
import type { UnpackJob } from "./unpack_job.ts";

/** More would hinder each other on the disk. */
const mostThreads = 4;

/** What a thread is told. */
export interface UnpackRequest {
  readonly job: UnpackJob;
  /** Whether it does all of it, or decompresses for another thread, or writes what another one has decompressed. */
  readonly part: "whole" | "inflating" | "writing";
  /** The ring between them; who does all of it only looks whether that was stopped. */
  readonly shared: SharedArrayBuffer;
}

/** What it says: how far it is, and how it has ended. */
export type UnpackReply =
  | { readonly kind: "ready" }
  | { readonly kind: "read"; readonly bytes: number }
  | { readonly kind: "done" }
  | { readonly kind: "stopped" }
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

/** Threads that do one layer at a time: one for all of it, or one that decompresses and one that writes. */
interface Lane {
  readonly threads: readonly Worker[];
  /** Whether all of them live. */
  alive: boolean;
}

/**
 * Threads that unpack layers, so that the event loop is free and each processor has work. They are made when they are needed,
 * and live as long as the process: beginning one takes longer than a small layer.
 */
export class UnpackThreads {
  readonly #entry: URL;
  readonly #parts: readonly UnpackRequest["part"][];
  readonly #most: number;
  readonly #idle: Lane[] = [];
  readonly #waiting: ((lane: Lane | undefined) => void)[] = [];
  #count = 0;
  #broken = false;

  /**
   * @param entry the module that a thread runs.
   * @param most how many threads at the most. Default: as many as there are processors, up to four.
   */
  constructor(entry: URL, most: number = Math.min(availableParallelism(), mostThreads)) {
    this.#entry = entry;
    this.#parts = most < 2 ? ["whole"] : ["inflating", "writing"];
    this.#most = Math.floor(most / this.#parts.length);
  }

  /**
   * Unpacks a layer.
   * @returns false where this machine has no threads for it, and nothing has been done.
   * @throws as `runJob`; the signal's reason; internal when a thread has died.
   */
  async run(job: UnpackJob, onRead: (bytes: number) => void, signal?: AbortSignal): Promise<boolean> {
    const lane = await this.#take();
    if (lane === undefined) return false;
    try {
      signal?.throwIfAborted();
      await this.#work(lane, job, onRead, signal);
    } finally {
      this.#give(lane);
    }
    return true;
  }

  async #take(): Promise<Lane | undefined> {
    if (this.#broken) return undefined;
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.threads.some((thread) => ended.has(thread))) return idle;
      this.#count--;
    }
    if (this.#count >= this.#most) return await new Promise((resolve) => this.#waiting.push(resolve));
    this.#count++;
    try {
      return { threads: await Promise.all(this.#parts.map(() => begun(this.#entry))), alive: true };
    } catch {
      // A program that was put into one file has no module for a thread: its layers are unpacked where it runs.
      this.#count--;
      this.#broken = true;
      for (const next of this.#waiting.splice(0)) next(undefined);
      return undefined;
    }
  }

  #give(lane: Lane): void {
    const next = this.#waiting.shift();
    if (lane.alive) {
      if (next === undefined) this.#idle.push(lane);
      else next(lane);
      return;
    }
    this.#count--;
    if (next !== undefined) void this.#take().then(next);
  }

  async #work(lane: Lane, job: UnpackJob, onRead: (bytes: number) => void, signal?: AbortSignal): Promise<void> {
    const ring = new Ring();
    const stop = () => ring.stop();
    signal?.addEventListener("abort", stop);
    try {
      const ends = await Promise.all(lane.threads.map(async (thread, i) => {
        const request: UnpackRequest = { job, part: this.#parts[i] ?? "whole", shared: ring.shared };
        const end = await told(thread, request, onRead);
        if (end.kind !== "dead") return end;
        lane.alive = false;
        stop();
        return end;
      }));
      signal?.throwIfAborted();
      for (const end of ends) if (end.kind === "failed") throw failureOf(end.error);
      if (ends.some(({ kind }) => kind !== "done")) {
        throw new Failure("internal", "cannot unpack the layer: a thread for it has ended");
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }
}

type End = Exclude<UnpackReply, { readonly kind: "ready" | "read" }> | { readonly kind: "dead" };

/** Threads that have ended. */
const ended = new WeakSet<Worker>();

/** Tells a thread what to do, and resolves with how it has ended. */
async function told(thread: Worker, request: UnpackRequest, onRead: (bytes: number) => void): Promise<End> {
  const { promise, resolve } = Promise.withResolvers<End>();
  const onMessage = (reply: UnpackReply) => {
    if (reply.kind === "read") onRead(reply.bytes);
    else if (reply.kind !== "ready") resolve(reply);
  };
  const onDeath = () => resolve({ kind: "dead" });
  thread.on("message", onMessage).on("error", onDeath).on("exit", onDeath);
  // A command waits for it; a thread without work holds nobody up.
  thread.ref();
  try {
    thread.postMessage(request);
    return await promise;
  } finally {
    thread.unref();
    thread.off("message", onMessage).off("error", onDeath).off("exit", onDeath);
  }
}

/** Begins a thread and waits until it can work. */
async function begun(entry: URL): Promise<Worker> {
  const thread = new Worker(entry);
  const ready = Promise.withResolvers<void>();
  const onReady = () => ready.resolve();
  thread.on("message", onReady).on("error", ready.reject).on("exit", ready.reject);
  try {
    await ready.promise;
  } finally {
    thread.off("message", onReady).off("error", ready.reject).off("exit", ready.reject);
  }
  // Without a listener its error would be everybody's.
  thread.on("error", () => {}).on("exit", () => ended.add(thread));
  thread.unref();
  return thread;
}

function failureOf(reply: FailedWith): Failure {
  const { code, message, ...options } = v.parse(FailedSchema, reply);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return new Failure(code, message, given);
}
