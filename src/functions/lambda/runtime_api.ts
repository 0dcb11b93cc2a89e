import { Failure } from "../../core/errors.ts";
import { collect } from "../whole_body.ts";
import { accepted, refusal } from "./runtime_answers.ts";
import { errorLimitBytes, functionFailed, readRuntimeError } from "./runtime_failures.ts";

/** One invocation, as a runtime gets it. */
export interface RuntimeEvent {
  readonly id: string;
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
  readonly functionArn: string;
  /** In X-Ray's form. */
  readonly traceId: string;
  /** JSON. */
  readonly clientContext?: string | undefined;
  readonly cognitoIdentity?: string | undefined;
}

export interface RuntimeAnswer {
  readonly contentType: string;
  /** A stream where the runtime sends it as it comes; it fails as the runtime says behind its end. */
  readonly payload: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** The most that an answer may have that is not streamed: that of AWS Lambda. */
export const maxResponseBytes = 6 * 1024 * 1024;

const base = "/2018-06-01/";

interface Invocation {
  readonly event: RuntimeEvent;
  readonly answer: PromiseWithResolvers<RuntimeAnswer>;
}

/**
 * The server's side of AWS Lambda's Runtime API for one container, whatever its requests come over. A runtime asks for the
 * next event, answers it or says what went wrong, and asks again.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
export class RuntimeApi {
  readonly #ready = Promise.withResolvers<void>();
  #initialized = false;
  /** What was given to the runtime, or waits for it to ask. */
  #current: Invocation | undefined;
  #given = false;
  /** The one whose answer is coming in. */
  #reading: Invocation | undefined;
  /** The one before. */
  #lastId: string | undefined;
  /** Told that an event waits, where the runtime waits for one. */
  #waiting: PromiseWithResolvers<void> | undefined;
  #closed: unknown;

  constructor() {
    this.#ready.promise.catch(() => {});
  }

  /** Resolves when the runtime asks for its first event. @throws failed_precondition where it says that it cannot. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /**
   * Has one event handled. Only one at a time.
   * @throws failed_precondition (reason `function_error`) as the runtime reports; what the API is closed with; the signal's
   * reason.
   */
  async invoke(event: RuntimeEvent, signal: AbortSignal): Promise<RuntimeAnswer> {
    signal.throwIfAborted();
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#current !== undefined) throw new Error("an event is handled already");
    const invocation: Invocation = { event, answer: Promise.withResolvers() };
    this.#current = invocation;
    this.#given = false;
    this.#waiting?.resolve();
    const onAbort = () => invocation.answer.reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    try {
      return await invocation.answer.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      if (this.#current === invocation) this.#end();
    }
  }

  /** Nobody asks for anything any more: what waits fails. */
  close(reason: unknown): void {
    this.#closed ??= reason;
    this.#ready.reject(reason);
    this.#current?.answer.reject(reason);
    this.#waiting?.resolve();
  }

  /**
   * Answers one request of the runtime. Errors have the form that the API gives them.
   * @param trailers what stood behind the body, when that has been read.
   */
  async fetch(request: Request, trailers: () => Headers = () => new Headers()): Promise<Response> {
    const { pathname } = new URL(request.url);
    const route = pathname.startsWith(base) ? pathname.slice(base.length) : "";
    const [, id, verb] = /^runtime\/invocation\/([^/]{1,256})\/(response|error)$/.exec(route) ?? [];
    const method = route === "ping" || route === "runtime/invocation/next" ? "GET" : "POST";
    const known = id !== undefined || ["ping", "runtime/invocation/next", "runtime/init/error"].includes(route);
    if (!known) return refusal(404, "UnknownPath", `there is nothing at ${pathname.slice(0, 256)}`);
    if (request.method !== method) {
      return refusal(405, "MethodNotAllowed", `cannot ${request.method} this: wanted ${method}`);
    }
    if (route === "ping") return new Response("pong");
    if (route === "runtime/invocation/next") return await this.#next(request.signal);
    if (route === "runtime/init/error") return await this.#initError(request);
    const invocation = this.#given ? this.#current : undefined;
    if (invocation === undefined || invocation.event.id !== id) return this.#strange(id ?? "", invocation);
    if (verb === "error") return await this.#error(invocation, request);
    return request.headers.get("lambda-runtime-function-response-mode") === "streaming"
      ? await this.#stream(invocation, request, trailers)
      : await this.#response(invocation, request);
  }

  async #next(signal: AbortSignal): Promise<Response> {
    if (this.#given) {
      return refusal(403, "InvalidStateTransition", `invocation ${this.#current?.event.id} is not answered yet`);
    }
    if (this.#waiting !== undefined) {
      return refusal(403, "InvalidStateTransition", "another request waits for the next invocation already");
    }
    this.#initialized = true;
    this.#ready.resolve();
    while (this.#current === undefined) {
      if (this.#closed !== undefined) return refusal(500, "Runtime.Closed", "there will be no next invocation");
      const waiting = this.#waiting = Promise.withResolvers<void>();
      const onAbort = () => waiting.resolve();
      signal.addEventListener("abort", onAbort);
      await waiting.promise;
      signal.removeEventListener("abort", onAbort);
      this.#waiting = undefined;
      // Nobody is there any more to take an event.
      if (signal.aborted) return refusal(500, "Runtime.Closed", "the connection was closed");
    }
    this.#given = true;
    return eventResponse(this.#current.event);
  }

  async #response(invocation: Invocation, request: Request): Promise<Response> {
    // Each of them is held whole: a container is not to have the daemon hold as many as it has connections.
    if (this.#reading === invocation) {
      return refusal(403, "InvalidStateTransition", "another request is sending the answer to this invocation");
    }
    this.#reading = invocation;
    const payload = await collect(request.body, maxResponseBytes).finally(() => {
      if (this.#reading === invocation) this.#reading = undefined;
    });
    if (payload === undefined) {
      const errorMessage = `Response payload size exceeded maximum allowed payload size (${maxResponseBytes} bytes).`;
      this.#fail(invocation, functionFailed("request", { errorType: "Function.ResponseSizeTooLarge", errorMessage }));
      return refusal(413, "RequestEntityTooLarge", errorMessage);
    }
    const contentType = request.headers.get("content-type") ?? "application/octet-stream";
    // It may have come to its end, or to its time's, meanwhile.
    if (this.#current !== invocation) return this.#strange(invocation.event.id, undefined);
    this.#end();
    invocation.answer.resolve({ contentType, payload });
    return accepted();
  }

  /** The answer is handed on as it comes, no faster than it is read. */
  async #stream({ answer }: Invocation, request: Request, trailers: () => Headers): Promise<Response> {
    const reader = request.body?.getReader();
    const ended = Promise.withResolvers<void>();
    const payload = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: async (controller) => {
        // Where it breaks off, there is nobody to be told that it was taken.
        const part = await reader?.read().catch((error) => {
          ended.resolve();
          throw error;
        });
        if (part?.done === false) return controller.enqueue(part.value);
        ended.resolve();
        const error = trailingError(trailers());
        if (error === undefined) controller.close();
        else controller.error(functionFailed("request", error));
      },
      cancel: async (reason) => {
        ended.resolve();
        await reader?.cancel(reason);
      },
    }, { highWaterMark: 0 });
    answer.resolve({ contentType: request.headers.get("content-type") ?? "application/octet-stream", payload });
    await ended.promise;
    return accepted();
  }

  async #error(invocation: Invocation, request: Request): Promise<Response> {
    const error = await errorOf(request);
    if (error === undefined) {
      return refusal(413, "RequestEntityTooLarge", `an error has ${errorLimitBytes} bytes at most`);
    }
    this.#fail(invocation, functionFailed("request", error));
    return accepted();
  }

  async #initError(request: Request): Promise<Response> {
    if (this.#initialized) {
      return refusal(
        403,
        "InvalidStateTransition",
        "the runtime has asked for an invocation already: it is initialized",
      );
    }
    const error = await errorOf(request);
    if (error === undefined) {
      return refusal(413, "RequestEntityTooLarge", `an error has ${errorLimitBytes} bytes at most`);
    }
    this.#ready.reject(functionFailed("init", error));
    return accepted();
  }

  /** An answer to an invocation that is not the one at hand. */
  #strange(id: string, current: Invocation | undefined): Response {
    // An answer that was repeated harms nobody; one to what was never asked leaves what was asked without any.
    if (current !== undefined && id !== this.#lastId) {
      this.#fail(
        current,
        functionFailed("request", {
          errorType: "Runtime.InvalidRequestId",
          errorMessage: `the runtime has answered invocation ${JSON.stringify(id)}, which it was not given`,
        }, { confused: true }),
      );
    }
    return refusal(400, "InvalidRequestID", "Invalid request ID");
  }

  #fail(invocation: Invocation, failure: Failure): void {
    if (this.#current === invocation) this.#end();
    invocation.answer.reject(failure);
  }

  #end(): void {
    this.#lastId = this.#current?.event.id;
    this.#current = undefined;
    this.#given = false;
  }
}

/** What a runtime says behind the end of an answer that it has streamed: its error, in base64. */
function trailingError(trailers: Headers) {
  const type = trailers.get("lambda-runtime-function-error-type");
  if (type === null) return undefined;
  try {
    const text = atob(trailers.get("lambda-runtime-function-error-body") ?? "");
    return readRuntimeError(Uint8Array.from(text, (character) => character.charCodeAt(0)), type);
  } catch {
    return readRuntimeError(new Uint8Array(), type);
  }
}

async function errorOf(request: Request) {
  const body = await collect(request.body, errorLimitBytes);
  return body && readRuntimeError(body, request.headers.get("lambda-runtime-function-error-type"));
}

function eventResponse(event: RuntimeEvent): Response {
  const headers = new Headers({
    "content-type": "application/json",
    "lambda-runtime-aws-request-id": event.id,
    "lambda-runtime-deadline-ms": String(event.deadlineMs),
    "lambda-runtime-invoked-function-arn": event.functionArn,
    "lambda-runtime-trace-id": event.traceId,
  });
  if (event.clientContext !== undefined) headers.set("lambda-runtime-client-context", event.clientContext);
  if (event.cognitoIdentity !== undefined) headers.set("lambda-runtime-cognito-identity", event.cognitoIdentity);
  return new Response(event.payload, { headers });
}
