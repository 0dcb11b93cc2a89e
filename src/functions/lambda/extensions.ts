import { Failure, messageOf } from "../../core/errors.ts";
import { collect } from "../whole_body.ts";
import { accepted, refusal } from "./runtime_answers.ts";
import { errorLimitBytes, functionFailed } from "./runtime_failures.ts";

/** Where their API begins, and those by which they would be told of logs. */
export const extensionBase = "/2020-01-01/extension/";
const telemetry: Readonly<Record<string, string>> = {
  "/2022-07-01/telemetry": "Telemetry",
  "/2020-08-15/logs": "Logs",
};

/** As many as AWS Lambda has. */
const maxExtensions = 10;
const maxBodyBytes = 64 * 1024;

const kinds = ["INVOKE", "SHUTDOWN"] as const;
type Kind = (typeof kinds)[number];

interface Extension {
  readonly name: string;
  readonly id: string;
  readonly wants: ReadonlySet<Kind>;
  readonly events: object[];
  /** Told that an event waits for it, where it waits for one. */
  waiting: PromiseWithResolvers<void> | undefined;
}

export interface ExtensionsParts {
  /** The files of `/opt/extensions`: each registers by its own name. */
  readonly external: readonly string[];
  readonly functionName: string;
  readonly handler: string;
  /** Told that one has failed, and the container with it. */
  readonly onFailure: (failure: Failure) => void;
}

/** An event, as far as extensions are told of it. */
export interface ExtensionEvent {
  readonly id: string;
  readonly deadlineMs: number;
  readonly functionArn: string;
  readonly traceId: string;
}

/**
 * The server's side of AWS Lambda's Extensions API for one container: programs that run beside its runtime register, and ask
 * for the next event each time that they have done what there was to do.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
 */
export class Extensions {
  readonly #parts: ExtensionsParts;
  readonly #byId = new Map<string, Extension>();
  /** Those who wait for all to have asked. */
  readonly #idlers = new Set<() => void>();
  #ready = false;
  #closed = false;
  #ending = false;

  constructor(parts: ExtensionsParts) {
    this.#parts = parts;
  }

  /** Those that have not said that they are ready. */
  get missing(): readonly string[] {
    return this.#parts.external.filter((name) => this.#find(name)?.waiting === undefined);
  }

  /** Whether any is to be told of the container's end. */
  get any(): boolean {
    return this.#byId.size > 0;
  }

  #find(name: string): Extension | undefined {
    for (const extension of this.#byId.values()) if (extension.name === name) return extension;
    return undefined;
  }

  /** Resolves when all have done what there was to do. @throws the signal's reason. */
  async idle(signal: AbortSignal): Promise<void> {
    const isIdle = () =>
      this.missing.length === 0 &&
      [...this.#byId.values()].every(({ waiting, events }) => waiting !== undefined && events.length === 0);
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => {});
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    try {
      signal.throwIfAborted();
      while (!this.#closed && !isIdle()) {
        const changed = Promise.withResolvers<void>();
        this.#idlers.add(changed.resolve);
        await Promise.race([changed.promise, aborted.promise]).finally(() => this.#idlers.delete(changed.resolve));
      }
      // What aborts may have closed it, too.
      signal.throwIfAborted();
      this.#ready = true;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Tells those that want to know of an event for the runtime. */
  invoke({ id, deadlineMs, functionArn, traceId }: ExtensionEvent): void {
    this.#publish("INVOKE", {
      eventType: "INVOKE",
      deadlineMs,
      requestId: id,
      invokedFunctionArn: functionArn,
      tracing: { type: "X-Amzn-Trace-Id", value: traceId },
    });
  }

  /** Tells those that want to know that the container ends. @param deadlineMs epoch milliseconds. */
  shutDown(deadlineMs: number): void {
    this.#ending = true;
    this.#publish("SHUTDOWN", { eventType: "SHUTDOWN", shutdownReason: "spindown", deadlineMs });
  }

  #publish(kind: Kind, event: object): void {
    for (const extension of this.#byId.values()) {
      if (!extension.wants.has(kind)) continue;
      extension.events.push(event);
      extension.waiting?.resolve();
    }
  }

  /** A program has ended by itself. @param how its end, in words. */
  ended(name: string, how: string): void {
    if (this.#ending || this.#closed) return;
    this.#fail("Extension.Crash", `extension ${name} has ended: ${how}`);
  }

  /** A program could not be started. */
  notStarted(name: string, error: unknown): Failure {
    return functionFailed("init", {
      errorType: "Extension.LaunchError",
      errorMessage: `extension ${name} cannot be started: ${messageOf(error)}`,
    });
  }

  #fail(errorType: string, errorMessage: string): void {
    this.#parts.onFailure(
      functionFailed(this.#ready ? "request" : "init", { errorType, errorMessage }, { confused: true }),
    );
  }

  /** Nobody asks for anything any more. */
  close(): void {
    this.#closed = true;
    for (const { waiting } of this.#byId.values()) waiting?.resolve();
    this.#changed();
  }

  #changed(): void {
    for (const resolve of this.#idlers) resolve();
  }

  /** Whether a path is of this API, or of those that extensions use besides. */
  serves(path: string): boolean {
    return path.startsWith(extensionBase) || Object.hasOwn(telemetry, path);
  }

  /** Answers one request. Errors have the form that the API gives them. */
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const other = telemetry[pathname];
    // As AWS's own emulator says it: extensions go on without.
    if (other !== undefined) {
      return Response.json({ errorType: `${other}.NotSupported`, errorMessage: `${other} API is not supported` }, {
        status: 202,
      });
    }
    const route = pathname.slice(extensionBase.length);
    const method = route === "event/next" ? "GET" : "POST";
    if (!["register", "event/next", "init/error", "exit/error"].includes(route)) {
      return refusal(404, "UnknownPath", `there is nothing at ${pathname.slice(0, 256)}`);
    }
    if (request.method !== method) {
      return refusal(405, "MethodNotAllowed", `cannot ${request.method} this: wanted ${method}`);
    }
    if (route === "register") return await this.#register(request);
    const id = request.headers.get("lambda-extension-identifier");
    if (id === null) {
      return refusal(403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header");
    }
    const extension = this.#byId.get(id);
    if (extension === undefined) {
      return refusal(403, "Extension.UnknownExtensionIdentifier", `Unknown extension: ${id.slice(0, 64)}`);
    }
    if (route === "event/next") return await this.#next(extension, request.signal);
    return await this.#error(
      extension,
      route === "init/error" ? "Extension.InitError" : "Extension.ExitError",
      request,
    );
  }

  async #register(request: Request): Promise<Response> {
    const name = request.headers.get("lambda-extension-name") ?? "";
    if (!/^[\x21-\x7e]{1,128}$/.test(name)) {
      return refusal(403, "Extension.InvalidExtensionName", "Empty or invalid extension name");
    }
    const body = await collect(request.body, maxBodyBytes);
    const events = body && eventsIn(body);
    if (events === undefined) {
      return refusal(400, "InvalidRequestFormat", 'Could not parse events: wanted {"events": [...]}');
    }
    const strange = events.find((kind) => !kinds.some((known) => known === kind));
    const external = this.#parts.external.includes(name);
    if (strange !== undefined) {
      return refusal(400, "Extension.InvalidEventType", `${JSON.stringify(strange)}: Invalid event type`);
    }
    if (!external && events.includes("SHUTDOWN")) {
      const why = "SHUTDOWN event not supported for internal extensions";
      return refusal(400, "ShutdownEventNotSupportedForInternalExtension", why);
    }
    if (this.#ready) return refusal(403, "Extension.RegistrationClosed", "Extension registration closed already");
    if (this.#find(name) !== undefined) {
      return refusal(403, "Extension.AlreadyRegistered", `Extension ${name} is registered already`);
    }
    if (this.#byId.size >= maxExtensions) {
      return refusal(403, "Extension.TooManyExtensions", `Extension limit of ${maxExtensions} exceeded`);
    }
    const id = crypto.randomUUID();
    this.#byId.set(id, { name, id, wants: new Set(events as Kind[]), events: [], waiting: undefined });
    const { functionName, handler } = this.#parts;
    const features = request.headers.get("lambda-extension-accept-feature") ?? "";
    return Response.json({
      functionName,
      functionVersion: "$LATEST",
      handler,
      ...(/(?:^|,)\s*accountId\s*(?:,|$)/.test(features) && { accountId: "000000000000" }),
    }, { headers: { "lambda-extension-identifier": id } });
  }

  async #next(extension: Extension, signal: AbortSignal): Promise<Response> {
    if (extension.waiting !== undefined) {
      return refusal(403, "Extension.InvalidExtensionState", "another request waits for the next event already");
    }
    while (extension.events.length === 0) {
      if (this.#closed) return refusal(500, "Extension.Closed", "there will be no next event");
      const waiting = extension.waiting = Promise.withResolvers<void>();
      const onAbort = () => waiting.resolve();
      signal.addEventListener("abort", onAbort);
      this.#changed();
      await waiting.promise;
      signal.removeEventListener("abort", onAbort);
      extension.waiting = undefined;
      if (signal.aborted) return refusal(500, "Extension.Closed", "the connection was closed");
    }
    return Response.json(extension.events.shift(), {
      headers: { "lambda-extension-event-identifier": crypto.randomUUID() },
    });
  }

  async #error({ name }: Extension, kind: string, request: Request): Promise<Response> {
    const given = request.headers.get("lambda-extension-function-error-type");
    if (given === null) {
      return refusal(400, "Extension.MissingHeader", "Missing Lambda-Extension-Function-Error-Type header");
    }
    const body = await collect(request.body, errorLimitBytes);
    if (body === undefined) {
      return refusal(413, "RequestEntityTooLarge", `an error has ${errorLimitBytes} bytes at most`);
    }
    const type = /^Extension\.[A-Z][A-Za-z]{0,100}$/.test(given) ? given : kind;
    this.#fail(type, `extension ${name} has failed: ${new TextDecoder().decode(body.subarray(0, 1024))}`);
    return accepted();
  }
}

/** The events that an extension wants; undefined for what is no such thing. */
function eventsIn(body: Uint8Array): readonly string[] | undefined {
  try {
    const { events = [] } = JSON.parse(new TextDecoder().decode(body)) as { events?: unknown };
    return Array.isArray(events) && events.every((event) => typeof event === "string") ? events : undefined;
  } catch {
    return undefined;
  }
}
