import type { Failure } from "../core/errors.ts";
import type { Invocation } from "../core/invocation.ts";
import type { Span, StartKind } from "../core/monitor.ts";
import { revisionName } from "../core/revision.ts";
import type { Upgrade, WebSocketConnection } from "../core/web_socket.ts";
import type { Task } from "../core/task.ts";
import { cancelled, ofInvocation, timedOut } from "./failures.ts";
import { relay } from "./http/web_socket.ts";
import { Input } from "./input.ts";
import type { Instances, Lease } from "./instances.ts";
import { logTailBytes } from "./instance.ts";
import { Phases } from "./phases.ts";
import type { ServerAnswer } from "./protocol.ts";
import { describe, describeSpan, measure, type Progress, type RunOptions } from "./report.ts";
import { Tail } from "./tail.ts";

export interface ServedOptions extends RunOptions {
  readonly instances: Instances;
}

/** One invocation by a container that serves many. */
export class ServedRun implements Progress {
  /** Resolves when the answer's head may leave; rejects with the failure that came before it. */
  readonly answer: Promise<Response>;
  /** Resolves when its place in the container is free again. */
  readonly done: Promise<void>;

  readonly options: ServedOptions;
  readonly phases = new Phases();
  /** What the container wrote meanwhile. */
  readonly stderr = new Tail(logTailBytes);
  readonly span: Span;
  task: Task | undefined;
  input: Input | undefined;
  readonly output = { bytes: 0 };
  /** A container that goes on has no exit that were this one's. */
  readonly exit = undefined;
  startMs: number | undefined;
  durationMs: number | undefined;
  failure: Failure | undefined;
  start: StartKind = "cold";

  readonly #onAbort = () => this.stop(cancelled(this.options.request.signal.reason));
  #answered = false;
  readonly #head = Promise.withResolvers<Response>();
  /** Aborted with the failure that ends it before its time. */
  readonly #stop = new AbortController();

  constructor(options: ServedOptions) {
    this.options = options;
    this.span = describeSpan(options);
    this.answer = this.#head.promise;
    this.done = this.#run();
  }

  async #run(): Promise<void> {
    const { instances, request, record } = this.options;
    request.signal.addEventListener("abort", this.#onAbort);
    let deadline: ReturnType<typeof setTimeout> | undefined;
    let lease: Lease | undefined;
    try {
      if (request.signal.aborted) this.#onAbort();
      lease = await instances.acquire({ log: this.stderr, signal: this.#stop.signal });
      this.start = lease.start;
      this.task = lease.instance.task;
      this.phases.mark("instance");
      if (this.start === "cold") this.startMs = this.phases.elapsedMs;
      deadline = setTimeout(() => this.stop(timedOut(record.timeoutMs)), record.timeoutMs);
      const answer = await this.#ask(lease, Date.now() + record.timeoutMs);
      this.#answered = true;
      this.phases.mark("first_byte");
      await this.#hand(answer);
      this.phases.mark("run");
      this.#settle(undefined);
    } catch (error) {
      const stopped: unknown = this.#stop.signal.aborted ? this.#stop.signal.reason : undefined;
      this.#settle(stopped ?? (lease === undefined ? error : await lease.instance.diagnose(error)));
    } finally {
      clearTimeout(deadline);
      request.signal.removeEventListener("abort", this.#onAbort);
      await this.input?.stop();
      // One that does not begin to answer in time may never answer again.
      const late = !this.#answered && this.failure?.details?.["reason"] === "timeout";
      const spent = lease?.instance.server.spent === true;
      lease?.release({ spent: late || spent });
      if (spent) await lease?.instance.logged;
      measure(this);
    }
  }

  #ask({ instance }: Lease, deadlineMs: number): Promise<ServerAnswer> {
    const { id, request, record } = this.options;
    const { body } = request;
    return instance.server.answer({
      id,
      request,
      trace: this.span.context,
      deadlineMs,
      carry: body === null ? undefined : (sink) => {
        this.input = new Input(body, sink, record, (failure) => this.stop(failure));
      },
      signal: this.#stop.signal,
    });
  }

  /** Hands the answer to the caller. Resolves when the caller has all of it. */
  async #hand({ status, headers, body, socket }: ServerAnswer): Promise<void> {
    const { upgrade } = this.options.request;
    if (socket !== undefined && upgrade !== undefined) return await this.#relay(upgrade, socket, headers);
    headers.set("x-mayfly-invocation", this.options.id);
    headers.set("x-mayfly-revision", this.#revision);
    headers.set("x-mayfly-start", this.start);
    headers.append("server-timing", this.phases.serverTiming());
    const withBody = this.options.request.method !== "HEAD" && ![204, 205, 304].includes(status);
    if (!(body instanceof ReadableStream) || !withBody) {
      if (body instanceof ReadableStream) await body.cancel();
      else if (body !== null && withBody) headers.set("content-length", String(body.length));
      this.output.bytes = !(body instanceof Uint8Array) ? 0 : body.length;
      const whole = withBody && body instanceof Uint8Array && body.length > 0 ? body : null;
      return this.#head.resolve(new Response(whole, { status, headers }));
    }
    const reader = body.getReader();
    const ended = Promise.withResolvers<void>();
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: async (controller) => {
        try {
          await this.options.young.letPass(this.output.bytes);
          const { done, value } = await reader.read();
          if (!done) {
            this.output.bytes += value.length;
            return controller.enqueue(value);
          }
          controller.close();
          ended.resolve();
        } catch (error) {
          ended.reject(error);
          throw error;
        }
      },
      cancel: async (reason) => {
        this.stop(cancelled(reason));
        await reader.cancel().catch(() => {});
        ended.reject(reason);
      },
    }, { highWaterMark: 0 });
    this.#head.resolve(new Response(stream, { status, headers }));
    // A caller that takes nothing keeps the container's place no longer than the time it has.
    const late = () => ended.reject(this.#stop.signal.reason);
    this.#stop.signal.addEventListener("abort", late);
    try {
      await ended.promise;
    } finally {
      this.#stop.signal.removeEventListener("abort", late);
    }
  }

  /** Carries the messages of a WebSocket. Resolves when it is closed. */
  async #relay(upgrade: Upgrade, socket: WebSocketConnection, headers: Headers): Promise<void> {
    const ended = Promise.withResolvers<void>();
    let client: WebSocketConnection | undefined;
    const accept = async (connection: WebSocketConnection) => {
      client = connection;
      // How it ends is told by the connection; to some hosts its end is the request's.
      this.options.request.signal.removeEventListener("abort", this.#onAbort);
      try {
        await relay(connection, socket, (from, bytes) => {
          if (from === "server") this.output.bytes += bytes;
        });
      } finally {
        // Whatever became of it, the container's place is free again.
        ended.resolve();
      }
    };
    const protocol = headers.get("sec-websocket-protocol") ?? undefined;
    this.#head.resolve(upgrade(accept, { text: true, protocol }));
    const late = () => {
      client?.close({ code: 1001, reason: "the function's time is over" });
      socket.close({ code: 1001 });
      ended.reject(this.#stop.signal.reason);
    };
    this.#stop.signal.addEventListener("abort", late);
    try {
      await ended.promise;
    } finally {
      this.#stop.signal.removeEventListener("abort", late);
    }
  }

  /** Ends it before its time. Without effect once its outcome is known. */
  stop(failure: Failure): void {
    if (this.durationMs === undefined) this.#stop.abort(failure);
  }

  #settle(failure: unknown): void {
    this.durationMs = this.phases.elapsedMs;
    if (failure === undefined) return;
    this.failure = ofInvocation(failure, {
      invocation: this.options.id,
      revision: this.#revision,
      serverTiming: this.phases.serverTiming(),
    });
    this.#head.reject(this.failure);
  }

  get #revision(): string {
    return revisionName(this.options.record.name, this.options.record.revision);
  }

  /** The record, as far as it is known. */
  record(): Invocation {
    return describe(this);
  }
}
