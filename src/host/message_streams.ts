import { Failure } from "../core/errors.ts";
import { type Closing, maxMessageBytes, TextMessage, type WebSocketConnection } from "../core/web_socket.ts";

/** What a runtime's own WebSocket does for the streams over it. */
export interface MessageSocket {
  /** Resolves when the kernel has it; rejects when the connection is gone. A `TextMessage` is sent as text. */
  send(message: Uint8Array): Promise<void>;
  /** Stops taking messages from the kernel, but for those that have been read already. */
  pause(): void;
  resume(): void;
  ping(): void;
  close(code: number, reason: string): void;
  /** Cuts the connection. */
  terminate(): void;
}

export interface MessageOptions {
  /** Asks a silent peer whether it is there; one that does not answer is cut off. */
  readonly keepAlive: boolean;
  /** Whether the peer may send text. Default false. */
  readonly text?: boolean | undefined;
}

/** So much is read ahead of the consumer. */
const readAheadBytes = 256 * 1024;
/** How long a peer may be silent before it is asked whether it is there, and then until it answers. */
const heartbeatMs = 30_000;
/** How long a peer has to answer a goodbye. */
const goodbyeMs = 5000;

/** The streams over a runtime's WebSocket. Its adapter tells it of every event. */
export class MessageStreams implements WebSocketConnection {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
  readonly closed: Promise<Closing>;
  readonly #socket: MessageSocket;
  readonly #text: boolean;
  readonly #gone = Promise.withResolvers<Closing>();
  readonly #heartbeat: ReturnType<typeof setInterval> | undefined;
  #in: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  #out: WritableStreamDefaultController | undefined;
  #paused = false;
  #heard = true;
  #over = false;
  #goodbye: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: MessageSocket, { keepAlive, text = false }: MessageOptions) {
    this.#text = text;
    this.#socket = socket;
    this.closed = this.#gone.promise;
    this.readable = new ReadableStream({
      start: (controller) => void (this.#in = controller),
      pull: () => this.#flow(true),
      cancel: () => {
        this.#in = undefined;
        this.#flow(true);
        this.close();
      },
    }, { highWaterMark: readAheadBytes, size: (message) => message?.byteLength ?? 0 });
    this.writable = new WritableStream({
      start: (controller) => {
        this.#out = controller;
        // Not in `abort`, which comes behind a write that a peer keeps waiting.
        controller.signal.addEventListener("abort", () => socket.terminate());
      },
      write: (message) => {
        if (message.byteLength <= maxMessageBytes) return socket.send(message);
        throw new Failure("invalid_argument", tooLarge(message.byteLength));
      },
      close: async () => {
        this.close();
        await this.closed;
      },
    });
    if (keepAlive) this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs);
  }

  close({ code = 1000, reason = "" }: Partial<Closing> = {}): void {
    if (this.#over || this.#goodbye !== undefined) return;
    this.#goodbye = setTimeout(() => this.#socket.terminate(), goodbyeMs);
    // The peer's own goodbye lies behind what was not read yet.
    this.#flow(true);
    this.#socket.close(code, reason);
  }

  /** A message has come. */
  received(message: Uint8Array<ArrayBuffer>): void {
    this.#heard = true;
    // Behind the own goodbye nobody reads.
    if (this.#in === undefined || this.#over || this.#goodbye !== undefined) return;
    this.#in.enqueue(message);
    if ((this.#in.desiredSize ?? 0) <= 0) this.#flow(false);
  }

  /** The peer has answered a ping. */
  alive(): void {
    this.#heard = true;
  }

  /** A message of text has come, as its UTF-8. */
  receivedText(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#text) this.received(new TextMessage(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    else this.close({ code: 1003, reason: "binary messages only" });
  }

  /** The connection is gone. @param error what the runtime said of it, where it did. */
  ended(closing: Closing, error?: unknown): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#heartbeat);
    clearTimeout(this.#goodbye);
    const failure = new Failure("unavailable", brokeOff(closing), { cause: error, details: { ...closing } });
    if (clean.has(closing.code)) this.#in?.close();
    else this.#in?.error(failure);
    this.#in = undefined;
    this.#out?.error(failure);
    this.#gone.resolve(closing);
  }

  #flow(on: boolean): void {
    if (this.#over || this.#paused === !on) return;
    this.#paused = !on;
    if (on) this.#socket.resume();
    else this.#socket.pause();
  }

  #beat(): void {
    // Of a peer that is not read, no answer can come; writing to one that is gone fails.
    if (!this.#heard && !this.#paused) return this.#socket.terminate();
    this.#heard = false;
    this.#socket.ping();
  }
}

/** Normal, going away, and a goodbye without a code. */
const clean: ReadonlySet<number> = new Set([1000, 1001, 1005]);

function tooLarge(byteLength: number): string {
  return `cannot send a message of ${byteLength} bytes: it may have ${maxMessageBytes}`;
}

function brokeOff({ code, reason }: Closing): string {
  if (code === 1009) return `the connection was closed: a message had more than ${maxMessageBytes} bytes`;
  return `the connection ${code === 1006 ? "broke off" : `was closed with ${code}`}${
    reason === "" ? "" : `: ${reason}`
  }`;
}
