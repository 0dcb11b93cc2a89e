import type { CallbackOutcome, CallbackStore, DueCallback } from "../core/callback.ts";
import { messageOf } from "../core/errors.ts";
import type { Monitor } from "../core/monitor.ts";
import { parseCallbackUrl } from "./callback_url.ts";

export interface CallbacksParts {
  readonly store: CallbackStore;
  readonly monitor: Monitor;
  /** Whom the daemon may tell. */
  readonly hosts: readonly string[];
  /** The wait before the second attempt, doubled for each after it, with as much again at random. */
  readonly retryBaseMs: number;
  readonly onError: (error: unknown, what: string) => void;
}

/** How many are under way at once, and how many of them to one server: one that hangs does not hold up the others. */
const mostAtOnce = 16;
const mostToOne = 4;
const mostLookedAt = 500;
const mostAttempts = 10;
const attemptLimitMs = 10_000;
const longestWaitMs = 300_000;
const afterErrorMs = 1000;

/** Client errors that are said of the moment, not of the request. */
const passing: ReadonlySet<number> = new Set([408, 425, 429]);

/**
 * Tells callers' servers how asynchronous calls have ended: at least once, again where they don't answer with success, and
 * across restarts. The headers are those of OpenFaaS's callbacks.
 */
export class Callbacks implements AsyncDisposable {
  readonly #parts: CallbacksParts;
  readonly #gone = new AbortController();
  /** URLs' origins by the ids of the calls that are under way. */
  readonly #origins = new Map<string, string>();
  readonly #running = new Set<Promise<void>>();
  #looking = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: CallbacksParts) {
    this.#parts = parts;
  }

  /** @throws as `parseCallbackUrl`. */
  parse(url: string): string {
    return parseCallbackUrl(url, this.#parts.hosts);
  }

  /** Looks for what is due: a call has ended. */
  wake(): void {
    this.#again = true;
    if (this.#looking || this.#gone.signal.aborted) return;
    this.#looking = true;
    this.#begin().catch((error) => {
      this.#parts.onError(error, "cannot read the callbacks of calls");
      this.#wakeAfter(afterErrorMs);
    }).finally(() => {
      this.#looking = false;
      if (this.#again) this.wake();
    });
  }

  async #begin(): Promise<void> {
    this.#again = false;
    const { store } = this.#parts;
    if (this.#origins.size < mostAtOnce) {
      for (const { id, url } of await store.due(new Date(), mostLookedAt, [...this.#origins.keys()])) {
        if (this.#origins.size >= mostAtOnce || this.#gone.signal.aborted) return;
        const { origin } = new URL(url);
        if ([...this.#origins.values()].filter((each) => each === origin).length >= mostToOne) continue;
        this.#origins.set(id, origin);
        const run = this.#run(id).catch((error) => this.#parts.onError(error, `cannot record a callback of call ${id}`))
          .finally(() => {
            this.#running.delete(run);
            this.#origins.delete(id);
            this.wake();
          });
        this.#running.add(run);
      }
    }
    const next = await store.next([...this.#origins.keys()]);
    // What is due already waits for one that is under way.
    const ms = (next?.getTime() ?? Infinity) - Date.now();
    if (ms !== Infinity && (ms > 0 || this.#origins.size === 0)) this.#wakeAfter(ms);
  }

  #wakeAfter(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#gone.signal.aborted) return;
    this.#timer = setTimeout(() => this.wake(), Math.min(Math.max(ms, 1), longestWaitMs));
  }

  async #run(id: string): Promise<void> {
    const callback = await this.#parts.store.get(id);
    if (callback === undefined) return;
    const span = this.#parts.monitor.span(`callback ${callback.function}`, {
      kind: "client",
      parent: callback.traceparent === undefined ? undefined : { traceparent: callback.traceparent },
      attributes: { "faas.name": callback.function, "mayfly.namespace": callback.namespace, "mayfly.call": id },
    });
    try {
      const outcome = await this.#tell(callback, span.context?.traceparent);
      await this.#parts.store.finish(id, outcome);
      span.end(outcome.status === "delivered" ? undefined : new Error(outcome.error));
    } catch (error) {
      span.end(error);
      // One that was cut off by the daemon's end is told at its next start.
      if (!this.#gone.signal.aborted) throw error;
    }
  }

  async #tell(callback: DueCallback, traceparent: string | undefined): Promise<CallbackOutcome> {
    const attempt = callback.attempts + 1;
    const failed = (error: string, final = false): CallbackOutcome => {
      if (final || attempt >= mostAttempts) return { status: "failed", error };
      const ms = this.#parts.retryBaseMs * 2 ** (attempt - 1) * (1 + Math.random());
      return { status: "pending", error, dueAt: new Date(Date.now() + Math.min(ms, longestWaitMs)) };
    };
    let url: string;
    try {
      // The daemon may be allowed less than when the call was accepted.
      url = this.parse(callback.url);
    } catch (error) {
      return failed(messageOf(error), true);
    }
    const headers = headersOf(callback);
    if (traceparent !== undefined) headers.set("traceparent", traceparent);
    let status: number;
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers,
        body: bodyOf(callback),
        redirect: "manual",
        signal: AbortSignal.any([this.#gone.signal, AbortSignal.timeout(attemptLimitMs)]),
      });
      status = answer.status;
      answer.body?.cancel().catch(() => {});
    } catch (error) {
      this.#gone.signal.throwIfAborted();
      return failed(`cannot reach ${new URL(url).host}: ${messageOf(error)}`);
    }
    if (status >= 200 && status < 300) return { status: "delivered" };
    const told = `${new URL(url).host} answered ${status}`;
    if (status >= 300 && status < 400) return failed(`${told}: redirects are not followed`, true);
    return failed(told, status < 500 && !passing.has(status));
  }

  /** Cuts off what is under way: it is told again at the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#gone.abort();
    clearTimeout(this.#timer);
    await Promise.all(this.#running);
  }
}

/** @see https://docs.openfaas.com/reference/async/ */
function headersOf({ id, function: name, namespace, answer, createdAt, finishedAt }: DueCallback): Headers {
  return new Headers({
    "content-type": answer?.contentType ?? "application/problem+json",
    "x-call-id": id,
    "x-function-name": namespace === "default" ? name : `${name}.${namespace}`,
    "x-function-status": answer === undefined ? "500" : "200",
    "x-duration-seconds": ((finishedAt.getTime() - createdAt.getTime()) / 1000).toFixed(3),
  });
}

function bodyOf({ answer, error, id }: DueCallback): BodyInit {
  if (answer !== undefined) return answer.body;
  return JSON.stringify({ title: "internal", status: 500, detail: error ?? "the call has failed", call: id });
}
