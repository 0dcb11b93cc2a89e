import { Failure } from "../core/errors.ts";
import type { FunctionRecord } from "../core/function.ts";
import { IdleTimer } from "../core/idle_timer.ts";
import { can, demand, type Exit, type Task } from "../core/task.ts";
import { newContainerId } from "../tasks/container_run.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { died, notReady, startFailed } from "./failures.ts";
import type { Beside, Protocol, Server } from "./protocol.ts";
import type { Recipe } from "./recipe.ts";
import { readLog } from "./log_pace.ts";
import { Tail } from "./tail.ts";

/** So much of its log is kept for who asks why it is not ready. */
export const logTailBytes = 16 * 1024;

/** How long one has nothing to do before it is frozen. Connections that nobody uses are closed by then. */
const freezeMs = 2000;

export interface InstanceParts {
  readonly tasks: Tasks;
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly protocol: Protocol;
}

/** A container that serves many requests, from before its start until nothing is left of it. */
export class Instance {
  readonly id = newContainerId();
  /** What it has written last, to stdout and stderr. */
  readonly log = new Tail(logTailBytes);
  /** Those who are told what it writes. */
  readonly listeners = new Set<Tail>();
  /** Requests that it has now. */
  used = 0;
  /** Counts those of its function that have become ready; 0 before it is. */
  readyAs = 0;
  /** Takes no more requests. */
  closing = false;
  /** Resolves when its process has ended by itself or by force; pending before its start. Never rejects. */
  readonly exited: Promise<Exit>;
  readonly #exited = Promise.withResolvers<Exit>();
  readonly #parts: InstanceParts;
  readonly #gone = new AbortController();
  #server: Server | undefined;
  readonly #drowsy = new IdleTimer(freezeMs, () => this.#freeze());
  /** Set from its freezing on; tells whether that has come to pass. */
  #asleep: Promise<boolean> | undefined;
  #task: Task | undefined;
  #exit: Exit | undefined;
  #logged = Promise.resolve();
  #release: AsyncDisposableStack | undefined;
  #removal: Promise<void> | undefined;

  constructor(parts: InstanceParts) {
    this.#parts = parts;
    this.exited = this.#exited.promise;
  }

  /** Resolves when all that it will ever write is told. Never rejects. */
  get logged(): Promise<void> {
    return this.#logged;
  }

  /** How its process has ended, if it has. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  get task(): Task | undefined {
    return this.#task;
  }

  /** @throws unavailable before it is ready. */
  get server(): Server {
    if (this.#server === undefined) throw new Failure("unavailable", "the container is not ready");
    return this.#server;
  }

  /**
   * Makes it, starts it, and waits until it can take requests. Nothing is left of it where that fails.
   * @param signal gives it up.
   * @throws what `failures.ts` says of containers that cannot be started, die or are not ready in time; the signal's reason.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { tasks, record, recipe, protocol } = this.#parts;
    await using undo = new AsyncDisposableStack();
    let server: Server;
    recipe.enter();
    undo.defer(() => recipe.leave());
    try {
      const { rootfs, release } = await recipe.rootfs(this.id);
      undo.defer(release);
      const task = await tasks.create({
        id: this.id,
        namespace: record.namespace,
        function: record.name,
        image: record.image,
        labels: record.labels,
        runtime: recipe.runtime,
        spec: recipe.spec(this.id, protocol.environment(record, recipe)),
        rootfs,
        ...(recipe.checkpoint !== undefined && { checkpoint: recipe.checkpoint }),
        stdio: { stdin: false },
      });
      const { stdout, stderr } = tasks.output(task);
      this.#keepLog([stdout, stderr]);
      undo.defer(() => task.delete().then(() => this.#logged));
      this.#task = task;
      const attach = () => undo.use(protocol.attach(task, record, this.#beside()));
      // One that goes on from a checkpoint has no process before its start.
      const attached = recipe.checkpoint === undefined ? attach() : undefined;
      undo.defer(() => this.#gone.abort());
      await task.start();
      server = attached ?? attach();
      task.wait().then((exit) => {
        this.#exit = exit;
        this.#gone.abort();
        this.#exited.resolve(exit);
      }, () => {});
    } catch (error) {
      throw startFailed(error);
    }
    await this.#becomeReady(server, signal);
    this.#server = server;
    this.#release = undo.move();
  }

  #beside(): Beside {
    const { tasks, record: { namespace }, recipe: { args } } = this.#parts;
    return {
      args,
      files: (folder) => tasks.filesIn(namespace, this.id, folder),
      run: async (command) => {
        const program = await tasks.exec(namespace, this.id, { command }, { stdin: false, stdout: true, stderr: true });
        this.#keepLog([program.stdout, program.stderr]);
        return program;
      },
    };
  }

  async #becomeReady(server: Server, signal: AbortSignal): Promise<void> {
    const { startTimeoutMs } = this.#parts.record;
    const late = AbortSignal.timeout(startTimeoutMs);
    try {
      await server.ready(AbortSignal.any([signal, late, this.#gone.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (this.#exit !== undefined) throw died("start", this.#exit);
      if (late.aborted) throw notReady(startTimeoutMs, server.wanted);
      throw error;
    }
    if (this.#exit !== undefined) throw died("start", this.#exit);
  }

  #keepLog(streams: readonly (ReadableStream<Uint8Array> | undefined)[]): void {
    const kept = streams.map(async (stream) => {
      if (stream === undefined) return;
      try {
        await readLog(stream, (part) => {
          this.log.push(part);
          for (const listener of this.listeners) listener.push(part);
        });
      } catch {
        // What it has written so far is all there is.
      }
    });
    this.#logged = Promise.all([this.#logged, ...kept]).then(() => {});
  }

  /** Freezes it when it has had nothing to do for a while longer, where its runtime can. */
  freezeSoon(): void {
    const task = this.#task;
    if (task === undefined || !can(task, "pause") || this.#asleep !== undefined) return;
    this.#drowsy.begin();
  }

  #freeze(): void {
    const task = this.#task;
    if (this.used > 0 || this.closing || task === undefined || !can(task, "pause")) return;
    // One that does not stop goes on as it is.
    this.#asleep = task.pause().then(() => true, () => false);
  }

  /** Lets it go on. @returns whether it was frozen. @throws what thawing throws. */
  async thaw(): Promise<boolean> {
    this.#drowsy.stop();
    const asleep = this.#asleep;
    if (asleep === undefined) return false;
    this.#asleep = undefined;
    if (this.#task === undefined || !await asleep) return false;
    await demand(this.#task, "pause").resume();
    return true;
  }

  /**
   * Asks it to end, waits, kills it where it has not, and removes all of it.
   * @param graceMs from SIGTERM to SIGKILL. @param options.finish whether what runs beside its process may come to its end.
   */
  async end(graceMs: number, { finish = true }: { readonly finish?: boolean } = {}): Promise<void> {
    this.closing = true;
    this.#drowsy.end();
    await this.#asleep;
    const task = this.#task;
    if (finish && this.#exit === undefined && this.#server?.finish !== undefined) {
      await this.thaw().catch(() => {});
      await this.#server.finish();
    }
    if (task !== undefined && this.#exit === undefined && graceMs > 0) {
      await this.#parts.tasks.stop(task, graceMs).catch(() => {});
    }
    await (this.#removal ??= this.#release?.disposeAsync());
  }

  /** What an error of its server comes from: its own end, where that is known soon. */
  async diagnose(error: unknown): Promise<unknown> {
    if (this.#exit === undefined && !this.closing) {
      // The connection breaks off before the end is told.
      await Promise.race([this.exited, new Promise((resolve) => setTimeout(resolve, 200))]);
    }
    return this.#exit === undefined ? error : died("request", this.#exit);
  }
}
