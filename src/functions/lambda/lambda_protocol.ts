import { Failure } from "../../core/errors.ts";
import type { FunctionRecord } from "../../core/function.ts";
import { GrowingBytes } from "../../core/growing_bytes.ts";
import type { Task } from "../../core/task.ts";
import type { ContainerNetwork, ContainerNetworks } from "../../network/container_network.ts";
import type { ContainerListener } from "../../network/listeners.ts";
import { bodyTooLarge, brokenOff, died, startFailed } from "../failures.ts";
import { type Answer, serveConnection } from "../http/server_connection.ts";
import type { OwnEnvironment, Protocol, Server, ServerAnswer, ServerCall } from "../protocol.ts";
import { defaultRegion, functionArn } from "./arn.ts";
import { clientContext, xrayTrace } from "./event.ts";
import { RuntimeApi } from "./runtime_api.ts";

/** Where AWS's own containers have it, too. */
const port = 9001;
/** The most that an event may have: that of AWS Lambda. */
const maxEventBytes = 6 * 1024 * 1024;
/** How many connections a container may make for one event, and may hold open. */
const connections = { each: 64, open: 16 } as const;

/** The connection breaks off before the container's end is told. */
const exitNoticeMs = 200;

/**
 * AWS Lambda's container images: the runtime inside asks for its events.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
 */
export class LambdaProtocol implements Protocol {
  readonly #networks: ContainerNetworks;

  constructor(networks: ContainerNetworks) {
    this.#networks = networks;
  }

  /** @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime */
  environment(record: FunctionRecord, own: OwnEnvironment): Readonly<Record<string, string>> {
    const { name, memoryBytes, minInstances } = record;
    const day = new Date().toISOString().slice(0, 10).replaceAll("-", "/");
    const handler = own.args.length > 1 ? own.args.at(-1) : undefined;
    const region = own.env.get("AWS_REGION") ?? defaultRegion;
    const defaults = {
      LAMBDA_TASK_ROOT: "/var/task",
      LAMBDA_RUNTIME_DIR: "/var/runtime",
      TZ: ":UTC",
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      ...(handler !== undefined && { _HANDLER: handler }),
    };
    return {
      ...Object.fromEntries(Object.entries(defaults).filter(([variable]) => !own.env.has(variable))),
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
      AWS_LAMBDA_FUNCTION_NAME: name,
      AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(Math.floor(memoryBytes / 1024 / 1024)),
      AWS_LAMBDA_INITIALIZATION_TYPE: minInstances > 0 ? "provisioned-concurrency" : "on-demand",
      AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${name}`,
      AWS_LAMBDA_LOG_STREAM_NAME: `${day}/[$LATEST]${crypto.randomUUID().replaceAll("-", "")}`,
    };
  }

  concurrency(): number {
    return 1;
  }

  stopGraceMs({ reuse, stopGraceMs }: FunctionRecord): number {
    return reuse ? stopGraceMs : 0;
  }

  attach(task: Task, record: FunctionRecord): Server {
    if (task.pid === undefined) throw startFailed(new Error("its runtime does not tell the process id"));
    return new LambdaServer(task, record, this.#networks.open(task.pid));
  }
}

class LambdaServer implements Server {
  readonly wanted = `it did not ask for /2018-06-01/runtime/invocation/next at AWS_LAMBDA_RUNTIME_API`;
  readonly #api = new RuntimeApi();
  readonly #task: Task;
  readonly #record: FunctionRecord;
  readonly #network: ContainerNetwork;
  readonly #listener: ContainerListener;
  readonly #ended = new AbortController();
  #open = 0;
  #ready = false;
  #spent = false;

  constructor(task: Task, record: FunctionRecord, network: ContainerNetwork) {
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
          const answer: Answer = (request, trailers) => this.#api.fetch(request, trailers);
          void serveConnection(connected, answer, this.#ended.signal).finally(() => this.#open--);
        },
      });
    } catch (error) {
      network[Symbol.dispose]();
      throw error;
    }
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
      await this.#api.ready;
      this.#ready = true;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async answer(call: ServerCall): Promise<ServerAnswer> {
    const { id, request, signal, trace, deadlineMs } = call;
    const { headers } = request;
    const payload = await readEvent(call);
    // What follows may be broken off at any point; one that is to be fresh is used once anyway.
    this.#spent = true;
    this.#listener.renew();
    const context = clientContext(headers.get("x-amz-client-context"));
    const { contentType, payload: answer } = await this.#api.invoke({
      id,
      payload,
      deadlineMs,
      functionArn: functionArn(this.#record, this.#record.env["AWS_REGION"]),
      traceId: xrayTrace(trace, headers.get("x-amzn-trace-id")),
      clientContext: context,
    }, signal).catch((error) => {
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
  }

  [Symbol.dispose](): void {
    this.#end(new Failure("unavailable", "the container has ended"));
    this.#listener[Symbol.dispose]();
    this.#ended.abort();
    this.#network[Symbol.dispose]();
  }
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
