import { Failure } from "../../core/errors.ts";
import type { FunctionRecord } from "../../core/function.ts";
import { GrowingBytes } from "../../core/growing_bytes.ts";
import { latest, revisionNumber } from "../../core/revision.ts";
import type { Process, Task } from "../../core/task.ts";
import type { ContainerNetwork } from "../../network/container_network.ts";
import type { ContainerListener } from "../../network/listeners.ts";
import { bodyTooLarge, brokenOff, died } from "../failures.ts";
import { type Answer, serveConnection } from "../http/server_connection.ts";
import type { Beside, Server, ServerAnswer, ServerCall } from "../protocol.ts";
import { revisionHeader } from "../route.ts";
import { functionArn } from "./arn.ts";
import { clientContext, xrayTrace } from "./event.ts";
import { Extensions } from "./extensions.ts";
import { RuntimeApi } from "./runtime_api.ts";
import { functionFailed } from "./runtime_failures.ts";

/** Where AWS's own containers have it, too. */
export const port = 9001;
/** The most that an event may have: that of AWS Lambda. */
const maxEventBytes = 6 * 1024 * 1024;
/** How many connections a container may make for one event, and may hold open. */
const connections = { each: 64, open: 16 } as const;

/** Where a container has its extensions, how many at the most, and how long they have for their end. */
const extensionFolder = "/opt/extensions";
const maxExtensions = 10;
const shutdownMs = 2000;

/** The connection breaks off before the container's end is told. */
const exitNoticeMs = 200;

/** One container of AWS Lambda's: its runtime, and what runs beside it. */
export class LambdaServer implements Server {
  readonly #api = new RuntimeApi();
  readonly #task: Task;
  readonly #record: FunctionRecord;
  readonly #network: ContainerNetwork;
  readonly #listener: ContainerListener;
  readonly #beside: Beside;
  #extensions: Extensions | undefined;
  #external: readonly Process[] = [];
  readonly #ended = new AbortController();
  /** Resolves when it is known which extensions there are. */
  readonly #known = Promise.withResolvers<void>();
  #open = 0;
  #ready = false;
  #spent = false;
  /** What an extension's failure is. */
  #failed: Failure | undefined;

  constructor(task: Task, record: FunctionRecord, network: ContainerNetwork, beside: Beside) {
    this.#beside = beside;
    this.#task = task;
    this.#record = record;
    this.#network = network;
    try {
      this.#listener = network.listen({
        port,
        maxConnections: connections.each,
        onExhausted: () => this.#end(tooManyConnections()),
        onConnection: (connected) => {
          if (this.#open >= connections.open) {
            connected.readable.cancel().catch(() => {});
            connected.writable.abort().catch(() => {});
            return;
          }
          this.#open++;
          const answer: Answer = (request, trailers) => this.#answer(request, trailers);
          void serveConnection(connected, answer, this.#ended.signal).finally(() => this.#open--);
        },
      });
    } catch (error) {
      network[Symbol.dispose]();
      throw error;
    }
  }

  get wanted(): string {
    const [extension] = this.#extensions?.missing ?? [];
    const [who, what] = extension === undefined
      ? ["it", "/2018-06-01/runtime/invocation/next"]
      : [`its extension ${extension}`, "/2020-01-01/extension/event/next"];
    return `${who} did not ask for ${what} at AWS_LAMBDA_RUNTIME_API`;
  }

  /** Its process may ask before it is known what else runs there. */
  async #answer(request: Request, trailers: () => Headers): Promise<Response> {
    const { pathname } = new URL(request.url);
    await this.#known.promise;
    const extensions = this.#extensions;
    return extensions?.serves(pathname) ? await extensions.fetch(request) : await this.#api.fetch(request, trailers);
  }

  get spent(): boolean {
    return this.#spent;
  }

  async ready(signal: AbortSignal): Promise<void> {
    this.#task.wait().then((exit) => this.#end(died(this.#ready ? "request" : "start", exit)), () => {});
    const onAbort = () => this.#end(signal.reason);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    try {
      await this.#extend();
      await this.#api.ready;
      await this.#extensions?.idle(signal);
      // One that has failed meanwhile has closed it.
      if (this.#failed !== undefined) throw this.#failed;
      this.#ready = true;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Starts what is in /opt/extensions. @throws what keeps one of them from it. */
  async #extend(): Promise<void> {
    let external: readonly string[];
    try {
      external = this.#beside.files(extensionFolder);
    } catch (error) {
      // One that has ended at once has no files any more: its end is told, where there is one.
      throw await this.#diagnose(error);
    }
    const extensions = this.#extensions = new Extensions({
      external,
      functionName: this.#record.name,
      handler: this.#beside.args.length > 1 ? this.#beside.args.at(-1) ?? "" : "",
      onFailure: (failure) => {
        this.#failed ??= failure;
        this.#end(failure);
      },
    });
    this.#known.resolve();
    if (external.length > maxExtensions) {
      const count = `there are ${external.length} in ${extensionFolder}, ${maxExtensions} at most`;
      throw functionFailed("init", { errorType: "Extension.TooManyExtensions", errorMessage: count });
    }
    for (const name of external) {
      const process = await this.#beside.run([`${extensionFolder}/${name}`]).catch(async (error) => {
        await this.#diagnose(error);
        throw extensions.notStarted(name, error);
      });
      this.#external = [...this.#external, process];
      process.wait().then(({ code }) => extensions.ended(name, `exit status ${code}`), () => {});
    }
  }

  /** Tells extensions of the end, and waits for theirs: as long as AWS Lambda does. */
  async finish(): Promise<void> {
    const extensions = this.#extensions;
    if (extensions?.any !== true || this.#failed !== undefined) return;
    const late = AbortSignal.timeout(shutdownMs);
    const deadlineMs = Date.now() + shutdownMs;
    // What they still do with the last event comes first.
    await extensions.idle(late).catch(() => {});
    extensions.shutDown(deadlineMs);
    const gone = Promise.all(this.#external.map((process) => process.wait())).then(() => {}, () => {});
    await Promise.race([gone, new Promise<void>((resolve) => late.addEventListener("abort", () => resolve()))]);
  }

  async answer(call: ServerCall): Promise<ServerAnswer> {
    const { id, request, signal, trace, deadlineMs } = call;
    const { headers } = request;
    const payload = await readEvent(call);
    await this.#extensions?.idle(signal);
    // What follows may be broken off at any point; one that is to be fresh is used once anyway.
    this.#spent = true;
    this.#listener.renew();
    const context = clientContext(headers.get("x-amz-client-context"));
    const event = {
      id,
      payload,
      deadlineMs,
      functionArn: invokedArn(this.#record, headers),
      traceId: xrayTrace(trace, headers.get("x-amzn-trace-id")),
      clientContext: context,
    };
    this.#extensions?.invoke(event);
    const { contentType, payload: answer } = await this.#api.invoke(event, signal).catch((error) => {
      // A function that has told of its failure takes the next event.
      if (isTold(error)) this.#spent = !this.#record.reuse;
      throw error;
    });
    const done = () => {
      this.#spent = !this.#record.reuse;
    };
    const head = { status: 200, headers: new Headers({ "content-type": contentType }) };
    if (answer instanceof ReadableStream) {
      return { ...head, body: this.#streamed(answer, done) };
    }
    done();
    return { ...head, body: answer };
  }

  /** An answer that is still on its way. @param done told when it has come to its end. */
  #streamed(
    answer: ReadableStream<Uint8Array<ArrayBuffer>>,
    done: () => void,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    const reader = answer.getReader();
    return new ReadableStream({
      pull: async (controller) => {
        const part = await reader.read().catch(async (error) => {
          throw error instanceof Failure ? error : await this.#diagnose(error);
        });
        if (!part.done) return controller.enqueue(part.value);
        done();
        controller.close();
      },
      cancel: (reason) => reader.cancel(reason),
    }, { highWaterMark: 0 });
  }

  /** Why a connection broke off: the container's end, where that is known soon. */
  async #diagnose(error: unknown): Promise<Failure> {
    const soon = new Promise<Failure>((resolve) => setTimeout(() => resolve(brokenOff(error)), exitNoticeMs));
    return await Promise.race([this.#task.wait().then((exit) => died("request", exit), () => soon), soon]);
  }

  #end(reason: unknown): void {
    this.#spent = true;
    this.#api.close(reason);
    this.#known.resolve();
    this.#extensions?.close();
  }

  [Symbol.dispose](): void {
    this.#end(new Failure("unavailable", "the container has ended"));
    this.#listener[Symbol.dispose]();
    this.#ended.abort();
    this.#network[Symbol.dispose]();
  }
}

/** What a function was called by, with the version or the alias that was asked for. */
function invokedArn(record: FunctionRecord, headers: Headers): string {
  const arn = functionArn(record, record.env["AWS_REGION"]);
  const asked = headers.get(revisionHeader);
  if (asked === null) return arn;
  return `${arn}:${asked === latest ? "$LATEST" : revisionNumber(record.name, asked) ?? asked}`;
}

/** Whether the runtime itself has said so, and goes on. */
function isTold(error: unknown): boolean {
  return error instanceof Failure && error.details?.["reason"] === "function_error" &&
    error.details["phase"] === "request" && error.details["confused"] !== true;
}

function tooManyConnections(): Failure {
  return new Failure(
    "failed_precondition",
    `the function's runtime has made more than ${connections.each} connections for one event`,
    { details: { reason: "bad_answer", phase: "request" } },
  );
}

const nothing = new TextEncoder().encode("{}");

/** The body as it came; an event of no bytes is an empty one. */
async function readEvent({ carry, signal }: ServerCall): Promise<Uint8Array<ArrayBuffer>> {
  if (carry === undefined) return nothing;
  const all = new GrowingBytes();
  const whole = Promise.withResolvers<void>();
  const onAbort = () => whole.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    carry(
      new WritableStream({
        write(part) {
          if (all.length + part.length > maxEventBytes) {
            whole.reject(bodyTooLarge(maxEventBytes));
            throw new Error("the event is too large");
          }
          all.push(part);
        },
        close: () => whole.resolve(),
        abort: (reason) => whole.reject(signal.aborted ? signal.reason : reason),
      }),
    );
    await whole.promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  return all.length === 0 ? nothing : all.bytes().slice();
}
