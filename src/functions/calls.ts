import { setImmediate } from "node:timers";
import { rootCaller } from "../core/access.ts";
import type { AcceptedCall, Call, CallAnswer, CallOutcome, CallRequest, CallStore } from "../core/call.ts";
import { codeOf, type ErrorCode, Failure, messageOf } from "../core/errors.ts";
import type { FunctionRecord } from "../core/function.ts";
import type { Monitor } from "../core/monitor.ts";
import type { Delivery, Queue, QueueMessage } from "../core/queue.ts";
import { fromMessage, toMessage } from "./call_message.ts";
import type { Callbacks } from "./callbacks.ts";
import { destinationCall, type EndedCall } from "./destinations.ts";
import { bodyTooLarge, reasonOf } from "./failures.ts";
import type { Functions } from "./functions.ts";
import { InvocationIds } from "./invocation_ids.ts";
import type { InvocationRequest } from "./request.ts";
import { revisionHeader } from "./route.ts";
import { collect, readBody } from "./whole_body.ts";

export interface CallsParts {
  readonly store: CallStore;
  readonly queue: Queue;
  readonly functions: Pick<Functions, "answering" | "gone" | "ingress" | "invoke">;
  readonly callbacks: Pick<Callbacks, "parse" | "wake">;
  readonly monitor: Monitor;
  /** How many run at once. */
  readonly concurrency: number;
  /** How many may wait. */
  readonly maxWaiting: number;
  /** The most that a request's body, or an answer's, may have. */
  readonly maxBytes: number;
  /** The wait before the second attempt, doubled for each after it, with as much again at random. */
  readonly retryBaseMs: number;
  readonly onError: (error: unknown, what: string) => void;
}

const longestWaitMs = 300_000;
/** What a message that tells of a call has beside its body, at the most. */
const headBytes = 8 * 1024;
/** How soon what has found no room is tried again; that is no attempt. */
const busyMs = 500;

/** What will not go another way the next time. */
const final: ReadonlySet<ErrorCode> = new Set(["not_found", "invalid_argument", "permission_denied", "unimplemented"]);
/** Header fields that are not written to disk. */
const secret: ReadonlySet<string> = new Set(["authorization", "proxy-authorization"]);

/** The calls of one function that wait, as far as is known here. */
interface Line {
  readonly namespace: string;
  readonly name: string;
  count: number;
  /** None is due before, in epoch milliseconds. */
  restUntil: number;
  /** There was no room for one: none is tried before, in epoch milliseconds. */
  fullUntil: number;
  /** Counts what was added: what was read of the queue before that is old. */
  version: number;
}

/**
 * Asynchronous calls: accepted when the queue has them, run when there is room, functions in turn, tried again where they
 * fail, and recorded with their answers. A crash repeats what it has interrupted; what the records say has ended is not run
 * again when its message comes once more.
 */
export class Calls implements AsyncDisposable {
  readonly #parts: CallsParts;
  readonly #ids = new InvocationIds();
  /** In the order of their turns. */
  readonly #lines = new Map<string, Line>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #unsubscribe: () => void;
  #pumping = false;
  #again = false;
  #started = false;
  #stopped = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: CallsParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.queue.subscribe(({ namespace, name }) => {
      this.#line(namespace, name).count++;
      this.#pump();
    });
  }

  /** Takes up what an earlier process has left, and begins. */
  async start(): Promise<void> {
    await this.#parts.store.recover();
    this.#parts.callbacks.wake();
    for (const { namespace, name, count } of await this.#parts.queue.lines()) {
      this.#line(namespace, name).count = count;
    }
    this.#started = true;
    this.#pump();
  }

  /**
   * Accepts a request, durably. `X-Callback-Url` in it says whom to tell how it ended.
   * @throws not_found for the function; unauthenticated, permission_denied where it wants a token; resource_exhausted where
   * too many wait; what a body does that is too large or slow; what a callback is that may not be.
   */
  async accept(namespace: string, name: string, request: InvocationRequest): Promise<Pick<Call, "id">> {
    const [call] = await this.acceptAll(namespace, name, [request]);
    if (call === undefined) throw new Error("a call was not made");
    return call;
  }

  /** Accepts several requests of one caller, all or none. @throws as `accept`. */
  async acceptAll(
    namespace: string,
    name: string,
    requests: readonly InvocationRequest[],
  ): Promise<readonly Pick<Call, "id">[]> {
    const [request] = requests;
    if (request === undefined) return [];
    const { store, queue, functions, callbacks, maxWaiting, maxBytes } = this.#parts;
    if (this.#stopped) throw new Failure("unavailable", "cannot accept a call: the daemon is shutting down");
    const record = await functions.answering(namespace, name, request);
    await functions.ingress.admit(record, request);
    const url = request.headers.get("x-callback-url");
    const callback = url === null ? undefined : callbacks.parse(url);
    let waiting = 0;
    for (const { count } of this.#lines.values()) waiting += count;
    if (waiting + requests.length > maxWaiting) {
      const room = `${waiting} calls wait already, and maxCalls allows ${maxWaiting}`;
      throw new Failure("resource_exhausted", room, {
        details: { retryAfterSeconds: 10 },
      });
    }
    const limit = Math.min(maxBytes, record.maxBodyBytes || Infinity);
    const calls: AcceptedCall[] = [];
    for (const each of requests) {
      const body = each.body === null ? undefined : await readBody(each.body, limit, record);
      const accepted = { id: this.#ids.next(), namespace, function: name, createdAt: new Date() };
      calls.push({ ...accepted, request: toCallRequest(each), body, callback });
    }
    await queue.publish(calls.map((call) => this.#message(call)));
    // Behind it: a record without a message would wait for ever.
    store.add(calls);
    return calls.map(({ id }) => ({ id }));
  }

  #message(call: AcceptedCall): QueueMessage {
    const message = toMessage(call);
    const { maxBytes } = this.#parts.queue;
    if (message.data.length <= maxBytes) return message;
    throw bodyTooLarge(Math.max(maxBytes - (message.data.length - (call.body?.length ?? 0)), 0));
  }

  /** @throws not_found. */
  async get(id: string, namespace?: string): Promise<Call> {
    const call = await this.#parts.store.get(id, namespace);
    if (call !== undefined) return call;
    throw new Failure(
      "not_found",
      `no call ${JSON.stringify(id.slice(0, 64))} is known: it may be mistyped, or too old`,
    );
  }

  list(namespace: string, options: Parameters<CallStore["list"]>[1]): Promise<readonly Call[]> {
    return this.#parts.store.list(namespace, options);
  }

  /** The answer of a call that has succeeded. @throws not_found; failed_precondition for one that has failed. */
  async answer(id: string): Promise<CallAnswer | Call> {
    const call = await this.get(id);
    if (call.status === "failed") {
      throw new Failure("failed_precondition", `call ${id} has failed: ${call.error}`, {
        details: { reason: "exit_code", ...(call.invocation && { invocation: call.invocation }) },
      });
    }
    return await this.#parts.store.answer(id) ?? call;
  }

  /** Queues a call that has failed again. @throws not_found; failed_precondition for one that has not failed. */
  async replay(namespace: string, id: string): Promise<Call> {
    const { store, queue } = this.#parts;
    const failed = await store.failed(namespace, id);
    if (failed === undefined) {
      const { status } = await this.get(id, namespace);
      throw new Failure("failed_precondition", `cannot replay call ${id}: it is ${status}, wanted one that failed`);
    }
    const call = { ...failed, createdAt: new Date(Math.max(Date.now(), failed.createdAt.getTime() + 1)) };
    await queue.publish([this.#message(call)]);
    await store.replayed(call);
    return await this.get(id, namespace);
  }

  /** Forgets a call that does not run. @throws not_found; failed_precondition for one that runs. */
  async delete(namespace: string, id: string): Promise<void> {
    await this.get(id, namespace);
    // Its line counts one too many until its message comes.
    if (!await this.#parts.store.delete(namespace, id)) {
      throw new Failure("failed_precondition", `cannot delete call ${id}: it runs`);
    }
  }

  /** Lets go of what waits in a namespace that is gone. */
  async purge(namespace: string): Promise<void> {
    await this.#parts.queue.purge(namespace);
  }

  #line(namespace: string, name: string): Line {
    const key = `${namespace}/${name}`;
    const line = this.#lines.get(key) ?? { namespace, name, count: 0, restUntil: 0, fullUntil: 0, version: 0 };
    this.#lines.set(key, line);
    // Something has changed: it is looked at again.
    line.restUntil = 0;
    line.version++;
    return line;
  }

  /** Begins what there is room for. */
  #pump(): void {
    this.#again = true;
    if (this.#pumping || !this.#started || this.#stopped) return;
    this.#pumping = true;
    this.#begin().catch((error) => {
      this.#parts.onError(error, "cannot read the queue of calls");
      this.#wake(busyMs);
    }).finally(() => {
      this.#pumping = false;
      if (this.#again) this.#pump();
    });
  }

  async #begin(): Promise<void> {
    const { queue, concurrency } = this.#parts;
    this.#again = false;
    while (!this.#stopped && this.#running.size < concurrency) {
      const line = this.#next();
      if (line === undefined) break;
      const { version } = line;
      const { deliveries: [delivery], next } = await queue.pull(line, 1);
      if (delivery !== undefined) {
        line.count--;
        await this.#take(delivery);
        // What ends is to make room before the next one begins: a queue that answers at once would leave no turn for it.
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      // A call that was added meanwhile is not in what was read.
      if (line.version !== version) continue;
      if (next === undefined) line.count = 0;
      else line.restUntil = Math.max(next.getTime(), Date.now() + 1);
    }
    this.#wake();
  }

  /** Begins a call that was pulled, where it is to be run. */
  async #take(delivery: Delivery): Promise<void> {
    const { queue, store, onError } = this.#parts;
    const { receipt } = delivery;
    let call: AcceptedCall;
    try {
      call = fromMessage(delivery);
    } catch (error) {
      onError(error, "cannot run what is in the queue: it is let go");
      return await queue.ack(receipt);
    }
    try {
      // Held for too long: it comes again while it is still worked on.
      if (this.#running.has(call.id)) return await queue.nak(receipt, queue.holdMs ?? busyMs);
      const record = await store.begin(call, new Date());
      if (record === undefined) {
        await queue.ack(receipt);
        return await store.forget(call.id);
      }
      const run = this.#hold(receipt, () => this.#run(call, record, receipt))
        .catch((error) => {
          onError(error, `cannot record how call ${call.id} went: it comes again`);
          return this.#comeAgain(call, receipt);
        })
        .finally(() => {
          this.#running.delete(call.id);
          this.#pump();
        });
      this.#running.set(call.id, run);
    } catch (error) {
      await this.#putBack(call, receipt, busyMs);
      throw error;
    }
  }

  async #putBack({ namespace, function: name }: AcceptedCall, receipt: string, delayMs: number): Promise<void> {
    await this.#parts.queue.nak(receipt, delayMs);
    this.#line(namespace, name).count++;
  }

  /** As `#putBack`, as soon as the queue can write that down: what was told once is not told for each try. */
  async #comeAgain(call: AcceptedCall, receipt: string): Promise<void> {
    while (!this.#stopped) {
      await new Promise((resolve) => setTimeout(resolve, busyMs));
      try {
        return await this.#putBack(call, receipt, 0);
      } catch {
        // Its disk is full still, or whatever it was.
      }
    }
  }

  /** Tells the queue, as long as some work takes, that a message is still worked on. */
  async #hold(receipt: string, work: () => Promise<void>): Promise<void> {
    const { queue, onError } = this.#parts;
    const timer = queue.holdMs === undefined ? undefined : setInterval(() => {
      queue.working(receipt).catch((error) => onError(error, "cannot hold a message of the queue"));
    }, queue.holdMs / 3);
    try {
      await work();
    } finally {
      clearInterval(timer);
    }
  }

  /** The line whose turn it is: it goes behind all others then. */
  #next(): Line | undefined {
    const now = Date.now();
    for (const [key, line] of this.#lines) {
      if (line.count <= 0) this.#lines.delete(key);
      else if (line.restUntil <= now && line.fullUntil <= now) {
        this.#lines.delete(key);
        this.#lines.set(key, line);
        return line;
      }
    }
    return undefined;
  }

  /** Comes back when the next one is due. */
  #wake(afterMs = Infinity): void {
    clearTimeout(this.#timer);
    let soonest = Date.now() + afterMs;
    for (const { restUntil, fullUntil } of this.#lines.values()) {
      soonest = Math.min(soonest, Math.max(restUntil, fullUntil) || Infinity);
    }
    if (soonest === Infinity || this.#stopped) return;
    this.#timer = setTimeout(() => this.#pump(), Math.min(Math.max(soonest - Date.now(), 1), longestWaitMs));
  }

  async #run(accepted: AcceptedCall, call: Call, receipt: string): Promise<void> {
    const { store, queue, functions, maxBytes } = this.#parts;
    let outcome: CallOutcome;
    let thrown: unknown;
    let revision: string | undefined;
    try {
      const answer = await functions.invoke(call.namespace, call.function, this.#request(accepted));
      const invocation = answer.headers.get("x-mayfly-invocation") ?? undefined;
      revision = answer.headers.get(revisionHeader) ?? undefined;
      const bytes = await collect(answer.body, maxBytes);
      const contentType = answer.headers.get("content-type") ?? "application/octet-stream";
      outcome = bytes === undefined
        ? { status: "failed", invocation, error: `its answer has more than ${maxBytes} bytes` }
        : { status: "succeeded", invocation, answer: { contentType, body: bytes } };
    } catch (error) {
      thrown = error;
      outcome = await this.#after(call, error);
    }
    // Before it is recorded: what a crash in between repeats is told of again.
    if (outcome.status !== "queued") {
      await this.#tell({
        asked: accepted,
        call,
        outcome,
        error: thrown,
        revision: revision ?? told(thrown, "revision"),
      });
    }
    await store.finish(accepted, outcome);
    if (outcome.status === "queued") {
      await this.#putBack(accepted, receipt, Math.max(outcome.dueAt.getTime() - Date.now(), 0));
      // The others of its line would find no room either.
      if (!outcome.counts) this.#line(call.namespace, call.function).fullUntil = outcome.dueAt.getTime();
    } else {
      await queue.ack(receipt);
      if (call.callback !== undefined) this.#parts.callbacks.wake();
    }
    if (outcome.invocation !== undefined) await functions.gone(outcome.invocation);
  }

  /** Tells the function that is to be told how a call has ended: by a call, which takes this one's place in the queue. */
  async #tell(ended: Omit<EndedCall, "record">): Promise<void> {
    const { store, queue, functions, maxBytes, onError } = this.#parts;
    const { call: { id, namespace, function: name } } = ended;
    let record: FunctionRecord;
    try {
      record = await functions.answering(namespace, name);
    } catch (error) {
      // Nobody is left who had wanted to be told.
      if (codeOf(error) === "not_found") return;
      throw error;
    }
    let next: AcceptedCall | undefined;
    try {
      next = destinationCall({ ...ended, record }, {
        id: this.#ids.next(),
        now: new Date(),
        maxBytes: Math.min(maxBytes, queue.maxBytes - headBytes),
      });
    } catch (error) {
      return onError(error, `cannot tell how call ${id} has ended`);
    }
    if (next === undefined) return;
    await queue.publish([toMessage(next)]);
    store.add([next]);
  }

  /** What becomes of a call whose attempt has failed. */
  async #after(call: Call, error: unknown): Promise<CallOutcome> {
    const { functions, retryBaseMs } = this.#parts;
    const invocation = told(error, "invocation");
    const why = messageOf(error);
    const [code, reason] = [codeOf(error), reasonOf(error)];
    const later = (ms: number, counts = true): CallOutcome => ({
      status: "queued",
      invocation,
      error: why,
      dueAt: new Date(Date.now() + Math.min(ms, longestWaitMs)),
      counts,
    });
    const busy = (code === "resource_exhausted" || code === "unavailable") &&
      (reason === undefined || reason === "no_capacity");
    if (busy) return later(busyMs * (1 + Math.random()), false);
    const settings = await functions.answering(call.namespace, call.function).catch(() => undefined);
    const past = settings !== undefined && Date.now() - call.createdAt.getTime() >= settings.asyncMaxAgeMs;
    if (settings === undefined || final.has(code) || call.attempts >= settings.asyncAttempts || past) {
      return { status: "failed", invocation, error: why };
    }
    return later(retryBaseMs * 2 ** (call.attempts - 1) * (1 + Math.random()));
  }

  #request({ request: asked, body, ...call }: AcceptedCall): InvocationRequest {
    const headers = new Headers(asked.headers);
    if (body !== undefined) headers.set("content-length", String(body.length));
    headers.set("x-call-id", call.id);
    const traceparent = headers.get("traceparent");
    const parent = traceparent === null ? undefined : { traceparent };
    return {
      method: asked.method,
      scriptName: asked.scriptName,
      path: asked.path,
      query: asked.query,
      headers,
      identify: () => Promise.resolve(rootCaller),
      accepted: true,
      client: asked.client === undefined ? undefined : { address: asked.client },
      body: body === undefined ? null : new Blob([body]).stream(),
      span: this.#parts.monitor.span(call.function, { kind: "server", parent }),
      signal: this.#gone.signal,
    };
  }

  readonly #gone = new AbortController();

  /** Begins nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    clearTimeout(this.#timer);
  }

  /** Waits until it is written how all that runs went: `Functions.drain` ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await Promise.all(this.#running.values());
  }
}

/** What a failure tells of its invocation. */
function told(error: unknown, name: "invocation" | "revision"): string | undefined {
  const value = error instanceof Failure ? error.details?.[name] : undefined;
  return typeof value === "string" ? value : undefined;
}

function toCallRequest({ method, scriptName, path, query, headers, client, span }: InvocationRequest): CallRequest {
  const kept = [...headers].filter(([name]) => !secret.has(name) && name !== "traceparent" && name !== "prefer");
  const trace = span.context === undefined ? [] : [["traceparent", span.context.traceparent] as [string, string]];
  const own = client === undefined ? {} : { client: client.address };
  return { method, scriptName, path, query, headers: [...kept, ...trace], ...own };
}
