import type { IncomingMessage } from "node:http";

/**
 * A request's body as it comes from the socket. The package's own is a stream of a stream that copies each part, which
 * costs more than the network.
 * @throws in its stream when the client goes away before the end.
 */
function requestBody(incoming: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  const parts = new Parts(incoming);
  return new ReadableStream({
    async pull(controller) {
      const part = await parts.next();
      if (part === undefined) controller.close();
      else controller.enqueue(part);
    },
    cancel: () => parts.leave(),
  }, { highWaterMark: 0 });
}

/** Listens from the first part on only: who listens keeps a body that nobody reads from being thrown away. */
class Parts {
  readonly #incoming: IncomingMessage;
  #listening = false;
  #ended = false;
  #failure: Error | undefined;
  #changed = Promise.withResolvers<void>();
  readonly #wake = () => {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  };

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming;
  }

  /** The next part; undefined at the end. */
  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (!this.#listening) this.#listen();
    for (;;) {
      const changed = this.#changed.promise;
      const part: Uint8Array<ArrayBuffer> | null = this.#incoming.read();
      if (part !== null) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      if (this.#ended) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      await changed;
    }
  }

  /** What comes still is nobody's. */
  leave(): void {
    this.#incoming.off("readable", this.#wake);
    this.#incoming.resume();
    this.#wake();
  }

  #listen(): void {
    this.#listening = true;
    const incoming = this.#incoming;
    this.#ended = incoming.readableEnded;
    if (incoming.destroyed && !this.#ended) this.#fail(incoming.errored);
    incoming.on("readable", this.#wake);
    incoming.once("end", () => {
      this.#ended = true;
      this.#wake();
    });
    incoming.once("error", (error) => this.#fail(error));
    incoming.once("close", () => this.#ended || this.#fail(null));
  }

  #fail(error: Error | null): void {
    this.#failure ??= error ?? new Error("the client has gone before the end of the body");
    this.#wake();
  }
}

/**
 * Gives a request that body, made when it is first asked for. Where there is none, the package would make the runtime's
 * own `Request` to find that out, with a copy of the header and a signal that follows another.
 */
export function withRequestBody(request: Request, incoming: IncomingMessage): Request {
  const { method, headers } = incoming;
  const announced = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
  if (method === "GET" || method === "HEAD" || !announced) {
    return Object.defineProperty(request, "body", { value: null });
  }
  let body: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  return Object.defineProperty(request, "body", { get: () => body ??= requestBody(incoming) });
}
