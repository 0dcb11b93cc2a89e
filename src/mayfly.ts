/**
 * The whole as an object of a program of one's own: `import { open } from "mayfly"`.
 *
 * It is what `mayfly serve` runs, without its listeners. The program has to run as root, and is changed in one way: nobody
 * can read its memory or dump it any more (PR_SET_DUMPABLE), since a container's first instructions run beside it.
 */
import type { Hono } from "hono";
import type { InferInput } from "valibot";
import type { Api } from "./api/app.ts";
import { type Client, createClient } from "./api/client.ts";
import { type EventFilter, fits } from "./api/events.ts";
import { createFunctionApp } from "./api/function_app.ts";
import type { ApiEnv } from "./api/observe_requests.ts";
import { type ConfigSchema, readConfig } from "./config.ts";
import { Failure } from "./core/errors.ts";
import type { Event, EventId } from "./core/event.ts";
import type { FunctionInput, FunctionRecord } from "./core/function.ts";
import { GrowingBytes } from "./core/growing_bytes.ts";
import type { Image } from "./core/image.ts";
import { parse } from "./core/parse.ts";
import { type RevisionInfo, type TrafficChangeInput, TrafficChangeSchema } from "./core/revision.ts";
import { type Daemon, openDaemon } from "./daemon.ts";
import { currentHost } from "./host/mod.ts";
import type { PullOptions } from "./images/image_options.ts";

export type { Api } from "./api/app.ts";
export type { Client } from "./api/client.ts";
export type { EventFilter } from "./api/events.ts";
export { codeOf, type ErrorCode, Failure } from "./core/errors.ts";
export type { Event, EventId } from "./core/event.ts";
export type { FunctionInput, FunctionRecord } from "./core/function.ts";
export type { Image } from "./core/image.ts";
export type { RevisionInfo, TrafficChangeInput } from "./core/revision.ts";
export { version } from "./version.ts";

/** The daemon's options (`mayfly serve --help`), each with its default. Neither environment nor files are read. */
export type Options = InferInput<typeof ConfigSchema>;

/** Whose things are meant. */
export interface Scope {
  /** Default `default`. */
  readonly namespace?: string | undefined;
}

export interface RunOptions extends Scope {
  /** What the container reads. Default: nothing. */
  readonly stdin?: ReadableStream<Uint8Array> | Uint8Array<ArrayBuffer> | string | undefined;
  /** Takes its output as it comes; the result has none of it then. Default: it is kept, up to `maxOutputBytes`. */
  readonly stdout?: WritableStream<Uint8Array> | undefined;
  readonly stderr?: WritableStream<Uint8Array> | undefined;
  /** The most that is kept of stdout, and of stderr. Default 16 MiB. */
  readonly maxOutputBytes?: number | undefined;
  /** Kills the container. */
  readonly signal?: AbortSignal | undefined;
}

export interface RunResult {
  /** The exit code; 128 and the signal's number where one has ended it. */
  readonly code: number;
  readonly oomKilled: boolean;
  /** Empty where a stream took it. */
  readonly stdout: Uint8Array<ArrayBuffer>;
  readonly stderr: Uint8Array<ArrayBuffer>;
}

export interface EventOptions extends EventFilter {
  /** Tells first what is kept of what happened behind this event. Default: what happens from now on. */
  readonly since?: EventId | undefined;
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
}

const defaultNamespace = "default";
const defaultOutputBytes = 16 * 1024 * 1024;
/** How many events are looked at in one go. */
const batch = 256;

/**
 * Opens a root folder and everything on it. Only one process can have it open.
 * @throws invalid_argument for an option; failed_precondition where another process has the root open, the user is not
 * root, or no runtime works here.
 * @example
 * ```ts
 * await using mayfly = await open({ root: "/var/lib/my-program", run: "/run/my-program" });
 * await mayfly.deploy("upper", { image: "docker.io/library/busybox:latest", args: ["tr", "a-z", "A-Z"] });
 * const answer = await mayfly.invoke("upper", new Request("http://any/", { method: "POST", body: "hello" }));
 * server.route("/jobs", mayfly.functions); // a Hono app: POST /jobs/fn/upper
 * ```
 */
export async function open(options: Options = {}): Promise<Mayfly> {
  const daemon = await openDaemon(await currentHost(), readConfig({ values: options }));
  daemon.start();
  return new Mayfly(daemon);
}

/** Functions, images and containers of one root folder. Disposing of it kills what still runs and closes everything. */
export class Mayfly implements AsyncDisposable {
  /**
   * Answers `/fn/{name}`, `/async/fn/{name}` and `/async/calls/{id}` alone. Who may reach it is its server's matter, but for
   * functions that were deployed with `auth`: who calls those needs a token.
   * @example `server.route("/jobs", mayfly.functions)`, or `Deno.serve(mayfly.functions.fetch)`.
   */
  readonly functions: Hono<ApiEnv>;
  /**
   * The whole HTTP API, functions too, without asking who calls: **whoever reaches it is root on this machine.** Nothing
   * mounts it by itself; a server that does has to put its own check before it. Its WebSockets (attach and exec) are there
   * over the Unix socket of `listen()` alone.
   */
  readonly admin: Api;
  /** A typed client of that API within this process, for what has no method here: containers, calls, logs, … */
  readonly client: Client;
  readonly #daemon: Daemon;

  /** @see open */
  constructor(daemon: Daemon) {
    this.#daemon = daemon;
    this.functions = createFunctionApp(daemon.api);
    this.admin = daemon.app;
    this.client = createClient((request) => daemon.fetch(request));
  }

  /** Brings an image, or an artifact, from its registry. @throws as `Images.pull`. */
  pull(reference: string, { namespace = defaultNamespace, ...options }: PullOptions & Scope = {}): Promise<Image> {
    return this.#daemon.api.images.pull(namespace, reference, { artifacts: true, ...options });
  }

  /**
   * Takes images from an OCI layout, an OCI archive or a `docker save` archive of this machine.
   * @param path absolute.
   * @param options.name what the image is called, where there is one. Default: as the archive says.
   */
  import(
    path: string,
    { namespace = defaultNamespace, ...options }: Scope & { readonly name?: string | undefined } = {},
  ): Promise<readonly Image[]> {
    return this.#daemon.api.images.import(namespace, path, options);
  }

  /** The images that are here. */
  images({ namespace = defaultNamespace }: Scope = {}): Promise<readonly Image[]> {
    return this.#daemon.api.images.list(namespace);
  }

  /** Creates a function, or replaces it. @throws as `Functions.deploy`. */
  deploy(name: string, input: FunctionInput, { namespace = defaultNamespace }: Scope = {}): Promise<FunctionRecord> {
    return this.#daemon.api.functions.deploy(namespace, name, input);
  }

  /** The functions that are deployed. */
  list({ namespace = defaultNamespace }: Scope = {}): Promise<readonly FunctionRecord[]> {
    return this.#daemon.api.functions.list(namespace);
  }

  /** The revisions of a function that are kept, the newest first, with their shares of the traffic. @throws not_found. */
  revisions(name: string, { namespace = defaultNamespace }: Scope = {}): Promise<readonly RevisionInfo[]> {
    return this.#daemon.api.functions.revisions(namespace, name);
  }

  /**
   * Says which revisions of a function answer: `{ split: [{ revision: "latest", percent: 100 }] }`, and tags beside those there
   * are. @throws as `Rollouts.changeTraffic`.
   */
  traffic(
    name: string,
    change: TrafficChangeInput,
    { namespace = defaultNamespace }: Scope = {},
  ): Promise<FunctionRecord> {
    const parsed = parse(TrafficChangeSchema, change, `cannot split the traffic of function ${JSON.stringify(name)}`);
    return this.#daemon.api.functions.rollouts.changeTraffic(namespace, name, parsed);
  }

  /** Gives all traffic to an earlier revision. @param to default the one that answered before. */
  rollback(
    name: string,
    { namespace = defaultNamespace, to }: Scope & { readonly to?: string | undefined } = {},
  ): Promise<FunctionRecord> {
    return this.#daemon.api.functions.rollouts.rollback(namespace, name, to);
  }

  /** Removes a function; what runs is finished. @throws not_found. */
  remove(name: string, { namespace = defaultNamespace }: Scope = {}): Promise<void> {
    return this.#daemon.api.functions.delete(namespace, name);
  }

  /**
   * Runs a request in a fresh container. A function that wants a token of its callers wants none of this program.
   * @param request its path and query are what the function finds behind its own name.
   * @returns the answer; where it fails a problem (RFC 9457) with its status, as over HTTP. Nothing is thrown.
   */
  async invoke(name: string, request: Request, { namespace = defaultNamespace }: Scope = {}): Promise<Response> {
    const url = new URL(request.url);
    const path = url.pathname === "/" ? "" : url.pathname;
    const target = `http://${url.host}/fn/${encodeURIComponent(name)}.${encodeURIComponent(namespace)}`;
    return await this.#daemon.fetch(new Request(`${target}${path}${url.search}`, request));
  }

  /**
   * Runs a container of an image once, to its end.
   * @param input as for `deploy`.
   * @throws as `deploy`; deadline_exceeded after its `timeoutMs`; aborted by the signal; resource_exhausted where it writes
   * more than is kept: it is killed then.
   */
  async run(input: FunctionInput, options: RunOptions = {}): Promise<RunResult> {
    const { namespace = defaultNamespace, stdin, maxOutputBytes = defaultOutputBytes } = options;
    const { functions, tasks } = this.#daemon.api;
    const failed = new AbortController();
    let carried: Promise<readonly Uint8Array<ArrayBuffer>[]> = Promise.resolve([]);
    const run = await functions.run(namespace, input, {
      stdin: stdin !== undefined,
      signal: options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]),
      attach: (task) => {
        const body = stdin === undefined ? null : new Response(stdin).body;
        // A container may end without having read all of its input.
        if (body !== null && task.stdin !== undefined) body.pipeTo(task.stdin).catch(() => {});
        const { stdout, stderr } = tasks.output(task);
        carried = Promise.all([
          take("stdout", stdout, options.stdout, maxOutputBytes),
          take("stderr", stderr, options.stderr, maxOutputBytes),
        ]);
        // Nobody takes its output any more: it would wait for that until its time is over.
        carried.catch((error) => failed.abort(error));
      },
    });
    const ended = await Promise.allSettled([run.done, carried]);
    if (ended[1].status === "rejected") throw ended[1].reason;
    if (ended[0].status === "rejected") throw ended[0].reason;
    const [stdout = none, stderr = none] = ended[1].value;
    const { code, oomKilled } = ended[0].value;
    return { code, oomKilled, stdout, stderr };
  }

  /**
   * Tells what happens, from the call on: images, functions, containers, tasks.
   * @throws data_loss in its turn where events are lost to it, since more came than are kept before they were taken.
   */
  events({ since, signal, ...filter }: EventOptions = {}): AsyncIterableIterator<Event> {
    return this.#events(since ?? this.#daemon.api.events.last, filter, signal);
  }

  async *#events(from: EventId, filter: EventFilter, signal: AbortSignal | undefined) {
    const { events, closing } = this.#daemon.api;
    const ending = signal === undefined ? closing : AbortSignal.any([closing, signal]);
    let wake = () => {};
    const stop = events.subscribe("", () => wake());
    const end = () => wake();
    ending.addEventListener("abort", end);
    try {
      for (let at = from; !ending.aborted;) {
        const news = new Promise<void>((resolve) => wake = resolve);
        const past = events.since(at, batch);
        if (past.gap) throw new Failure("data_loss", "cannot tell all events: some that happened are kept no more");
        at = past.last;
        yield* past.events.filter((event) => fits(event, filter));
        if (past.events.length === 0 && !ending.aborted) await news;
      }
    } finally {
      stop();
      ending.removeEventListener("abort", end);
    }
  }

  /**
   * Opens the admin socket in the `run` folder, so that the `mayfly` command reaches this program, and the listeners that the
   * options name (`listen`, by default 127.0.0.1:8080).
   * @returns what they are reached by.
   */
  listen(): Promise<readonly string[]> {
    return this.#daemon.listen();
  }

  /** Takes nothing new, waits for what runs up to `drainMs`, then closes everything. */
  drain(): Promise<void> {
    return this.#daemon.drain();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#daemon[Symbol.asyncDispose]();
  }
}

const none = new Uint8Array();

/** Carries an output to where it is wanted. @returns what is kept of it. */
async function take(
  name: string,
  output: ReadableStream<Uint8Array<ArrayBuffer>> | undefined,
  sink: WritableStream<Uint8Array> | undefined,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (sink !== undefined) {
    await output?.pipeTo(sink);
    return none;
  }
  const kept = new GrowingBytes();
  for await (const part of output ?? []) {
    if (kept.length + part.length > maxBytes) {
      throw new Failure(
        "resource_exhausted",
        `its ${name} has more than ${maxBytes} bytes: set maxOutputBytes, or ${name}`,
      );
    }
    kept.push(part);
  }
  return kept.bytes();
}
