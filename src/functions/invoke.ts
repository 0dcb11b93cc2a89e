import { setImmediate } from "node:timers";
import type { Failure } from "../core/errors.ts";
import type { Invocation } from "../core/invocation.ts";
import type { Span, StartKind } from "../core/monitor.ts";
import { revisionName } from "../core/revision.ts";
import type { Exit, Task } from "../core/task.ts";
import { requestEnvironment } from "./cgi.ts";
import { type CgiHead, hasCgiHead, parseCgiHead, withCgiHeaders } from "./cgi_answer.ts";
import { cancelled, exitFailure, ofInvocation, startFailed, timedOut } from "./failures.ts";
import { Input } from "./input.ts";
import { letOthersPass } from "./let_others_pass.ts";
import { readLog } from "./log_pace.ts";
import { Output } from "./output.ts";
import { outOfSpace } from "./out_of_space.ts";
import type { Prepared } from "./prepared.ts";
import { Phases } from "./phases.ts";
import { describe, describeSpan, measure, type Progress, type RunOptions } from "./report.ts";
import { killSoon } from "../tasks/kill_soon.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { Tail } from "./tail.ts";

/** Up to 64 KiB, and up to 20 ms behind the first byte: as long as that, a failure gets a status of its own. */
const holdBack = { bytes: 64 * 1024, ms: 20 } as const;
const stderrTailBytes = 16 * 1024;

export interface InvokeOptions extends RunOptions {
  readonly tasks: Tasks;
  /** Containers that were made before. */
  readonly prepared: Prepared | undefined;
}

/** One invocation: a request becomes a container, and the container's output becomes the answer. */
export class InvocationRun implements Progress {
  /** Resolves when the answer's head may leave; rejects with the failure that came before it. */
  readonly answer: Promise<Response>;
  /** Resolves when nothing of the container is left; rejects when something could not be removed. */
  readonly done: Promise<void>;

  readonly options: InvokeOptions;
  readonly phases = new Phases();
  readonly stderr = new Tail(stderrTailBytes);
  readonly span: Span;
  task: Task | undefined;
  input: Input | undefined;
  output: Output | undefined;
  exit: Exit | undefined;
  /** Milliseconds until the container's process was executed, and until its outcome was known. */
  startMs: number | undefined;
  durationMs: number | undefined;
  failure: Failure | undefined;
  start: StartKind = "cold";

  readonly #head = Promise.withResolvers<Response>();
  readonly #outcome = Promise.withResolvers<void>();
  #stopped: Failure | undefined;
  /** What is wrong with the output. */
  #misread: unknown;
  #cgiHead: CgiHead | undefined;
  #launching = false;

  constructor(options: InvokeOptions) {
    this.options = options;
    this.span = describeSpan(options);
    this.answer = this.#head.promise;
    // An outcome is read only by an answer whose head left before it.
    this.#outcome.promise.catch(() => {});
    this.done = this.#run();
  }

  async #run(): Promise<void> {
    try {
      await using undo = new AsyncDisposableStack();
      undo.defer(() => this.phases.mark("cleanup"));
      try {
        await this.#live(undo);
        const failure = this.#stopped ?? this.#misread ?? this.#ended();
        if (failure === undefined) this.#readHead();
        this.#settle(failure);
      } catch (error) {
        this.#settle(this.#stopped ?? (this.#launching ? startFailed(error) : error));
      }
      // The answer leaves in this turn of the event loop, the clean-up holds up what comes behind it.
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      measure(this);
    }
  }

  /** The whole order. What is taken here is given back in reverse when the scope of `undo` ends, on every path. */
  async #live(undo: AsyncDisposableStack): Promise<void> {
    const { id, record, recipe, request } = this.options;
    const env = requestEnvironment(request, id, this.span.context, recipe.env);
    this.#launching = true;
    const ready = this.options.prepared?.take();
    let task: Task;
    if (ready === undefined) {
      const { rootfs, release } = await recipe.rootfs(id);
      undo.defer(release);
      this.phases.mark("prepare");
      task = await this.options.tasks.create({
        id,
        namespace: record.namespace,
        function: record.name,
        image: record.image,
        labels: record.labels,
        runtime: recipe.runtime,
        spec: recipe.spec(id, env),
        rootfs,
        lazy: true,
        ...(recipe.checkpoint !== undefined && { checkpoint: recipe.checkpoint }),
        stdio: { stdin: request.body !== null },
      });
    } else {
      this.start = "prepared";
      task = ready.task;
      undo.defer(() => ready.release());
      // What was made for any request has a pipe for its body.
      if (request.body === null) task.stdin?.close().catch(() => {});
      this.phases.mark("prepare");
    }
    const streams = this.#connect(task);
    undo.defer(() => task.delete().then(streams));
    this.phases.mark("create");

    const onAbort = () => this.stop(cancelled(request.signal.reason));
    request.signal.addEventListener("abort", onAbort);
    undo.defer(() => request.signal.removeEventListener("abort", onAbort));
    if (request.signal.aborted) onAbort();
    if (this.#stopped !== undefined) return;
    await task.start(ready === undefined ? {} : { env: recipe.environment(ready.id, env) });
    this.#launching = false;
    this.phases.mark("start");
    this.startMs = this.phases.elapsedMs;
    if (this.#stopped !== undefined) killSoon(task);

    const { timeoutMs } = recipe.settings;
    const deadline = setTimeout(() => this.stop(timedOut(timeoutMs)), timeoutMs);
    undo.defer(() => clearTimeout(deadline));
    const lower = undo.use(letOthersPass(task));
    this.exit = await task.wait();
    clearTimeout(deadline);
    lower[Symbol.dispose]();
    this.phases.mark("run");
    await streams();
    this.phases.mark("exit");
  }

  /** What is wrong with how its process has ended. */
  #ended(): Failure | undefined {
    if (this.exit === undefined || this.exit.code === 0) return undefined;
    const { settings, scratchBytes } = this.options.recipe;
    const full = outOfSpace(this.stderr.text(), this.exit, { mounts: settings.mounts, scratchBytes });
    return exitFailure(this.exit, settings, full);
  }

  /** Starts what carries the three streams. @returns what waits for their ends, when the process has ended. */
  #connect(task: Task): () => Promise<void> {
    this.task = task;
    const { recipe, request } = this.options;
    if (request.body !== null && task.stdin !== undefined) {
      this.input = new Input(request.body, task.stdin, recipe.settings, (failure) => this.stop(failure));
    }
    const { stdout, stderr } = this.options.tasks.output(task);
    this.output = stdout && new Output(stdout, {
      hold: holdBack,
      discard: request.method === "HEAD" && !this.#cgi,
      ...(this.#cgi && { mayFlow: (output) => hasCgiHead(output.whole()) }),
      onFirstByte: () => this.startMs !== undefined && this.phases.mark("first_byte"),
      letPass: (bytes) => this.options.young.letPass(bytes),
      onFull: () => this.#leave(),
    });
    const errors = stderr && readLog(stderr, (part) => this.stderr.push(part));
    errors?.catch(() => {});
    return async () => {
      await Promise.all([this.output?.drain(), errors, this.input?.stop()]);
    };
  }

  /** Ends the container before its time. Without effect once it has ended by itself. */
  stop(failure: Failure): void {
    if (this.exit !== undefined || this.#stopped !== undefined) return;
    this.#stopped = failure;
    if (this.task !== undefined && this.task.status !== "created") killSoon(this.task);
  }

  /** The answer's head leaves before the outcome is known. */
  #leave(): void {
    try {
      this.#readHead();
    } catch (error) {
      this.#misread = error;
      this.stop(error as Failure);
      return;
    }
    this.#head.resolve(this.#streamed());
  }

  get #cgi(): boolean {
    return this.options.record.answer === "cgi";
  }

  /** Takes the head off a CGI program's output. @throws failed_precondition where it has none. */
  #readHead(): void {
    if (!this.#cgi || this.output === undefined || this.#cgiHead !== undefined) return;
    this.#cgiHead = parseCgiHead(this.output.whole());
    this.output.skip(this.#cgiHead.length);
  }

  /** The outcome is known: the answer leaves, and does not wait for the clean-up. */
  #settle(failure: unknown): void {
    this.durationMs = this.phases.elapsedMs;
    if (failure === undefined) {
      this.#head.resolve(this.#whole());
      this.#outcome.resolve();
    } else {
      this.failure = ofInvocation(failure, {
        invocation: this.options.id,
        revision: this.#revision,
        serverTiming: this.phases.serverTiming(),
      });
      this.#head.reject(this.failure);
      this.#outcome.reject(this.failure);
    }
  }

  get #revision(): string {
    return revisionName(this.options.record.name, this.options.record.revision);
  }

  #headers(more: Readonly<Record<string, string>> = {}): HeadersInit {
    const own = {
      "content-type": this.options.record.contentType,
      "x-mayfly-invocation": this.options.id,
      "x-mayfly-revision": this.#revision,
      "x-mayfly-start": this.start,
      "server-timing": this.phases.serverTiming(),
      ...more,
    };
    return this.#cgiHead === undefined ? own : withCgiHeaders(own, this.#cgiHead.headers);
  }

  /** Whether there is no body to send, whatever the function writes. */
  get #bodiless(): boolean {
    return this.options.request.method === "HEAD" || [204, 205, 304].includes(this.#cgiHead?.status ?? 200);
  }

  #whole(): Response {
    const { status = 200, length = 0 } = this.#cgiHead ?? {};
    const bytes = (this.output?.bytes ?? 0) - length;
    const withBody = bytes > 0 && !this.#bodiless;
    const headers = this.#headers(status === 200 || withBody ? { "content-length": String(bytes) } : {});
    return new Response(withBody ? this.output?.whole() : null, { status, headers });
  }

  #streamed(): Response {
    const { status = 200 } = this.#cgiHead ?? {};
    const headers = this.#headers();
    if (this.#bodiless) {
      // Read to its end all the same, which is waited for where the container ends.
      this.output?.stream(Promise.resolve(), () => {}).pipeTo(new WritableStream()).catch(() => {});
      return new Response(null, { status, headers });
    }
    const body = this.output?.stream(this.#outcome.promise, () => this.stop(cancelled())) ?? null;
    return new Response(body, { status, headers });
  }

  /** The record, as far as it is known. */
  record(): Invocation {
    return describe(this);
  }
}
