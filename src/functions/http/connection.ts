import type { Failure } from "../../core/errors.ts";
import type { Connected } from "../../network/container_network.ts";
import { badAnswer, brokenOff, closedEarly } from "../failures.ts";
import { ByteReader, headEnd, lineEnd } from "./byte_reader.ts";
import {
  type AnswerHead,
  answerLimits,
  chunkSize,
  type Fields,
  framingOf,
  parseAnswerHead,
  requestHead,
} from "./message.ts";
import type { Wire } from "./web_socket.ts";

/** A request as it goes over the wire; its headers are those of this hop. */
export interface WireRequest {
  readonly method: string;
  /** `/path?query` */
  readonly target: string;
  readonly headers: Fields;
  /** Told where its body goes, where it has one: closing that ends the body. */
  readonly carry: ((sink: WritableStream<Uint8Array>) => void) | undefined;
  /** Of a body whose end is known; else it goes in chunks. */
  readonly length: number | undefined;
  /** Whether it asks for a WebSocket: 101 is an answer then. */
  readonly upgrade?: boolean;
}

export interface WireAnswer {
  readonly head: AnswerHead;
  /** Whole where it has come with its head; null where there is none. It fails with the connection. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer> | null;
  /** What the connection has become with 101. */
  readonly wire?: Wire;
}

/** Bodies up to this size are read whole before they are handed on. */
const wholeBytes = 64 * 1024;
const lineBytes = 4096;
const trailerBytes = 64 * 1024;

const encoder = new TextEncoder();

/** The client's end of one connection of HTTP/1.1: one exchange at a time. */
export class HttpConnection {
  /** Whether another exchange may follow. */
  reusable = true;
  /** Whether something of an answer has come. */
  heard = false;
  /** Exchanges that were begun. */
  uses = 0;
  /** As `performance.now()` has it, when the last one ended. */
  endedMs = 0;
  readonly #reader: ByteReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #onClose: () => void;
  #closed = false;

  constructor({ readable, writable }: Connected, onClose: () => void) {
    this.#onClose = onClose;
    this.#reader = new ByteReader(readable);
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => {});
  }

  /**
   * Sends a request and reads the head of its answer.
   * @param onEnd told once, when the exchange is over; the connection can be used again where `reusable` says so.
   * @throws failed_precondition for an answer that is none (reason `bad_answer`); what the connection throws.
   */
  async exchange(request: WireRequest, onEnd: () => void): Promise<WireAnswer> {
    const { method, target, headers, carry, length, upgrade = false } = request;
    this.reusable = this.heard = false;
    this.uses++;
    let sent = carry === undefined;
    await this.#writer.write(requestHead(method, target, headers));
    carry?.(this.#sink(length === undefined, () => sent = true));
    const head = await this.#head(upgrade);
    if (head.status === 101) {
      const wire = {
        reader: this.#reader,
        write: (bytes: Uint8Array) => this.#writer.write(bytes),
        cut: () => this.close(),
      };
      return { head, body: null, wire };
    }
    const framing = framingOf(method, head);
    const end = (persistent: boolean) => {
      // A server that has answered before it has the whole body may read the rest of it or not: nobody knows.
      this.reusable = persistent && sent && head.persistent && this.#reader.held === 0;
      if (!this.reusable) this.close();
      this.endedMs = performance.now();
      onEnd();
    };
    if (framing !== "close" && framing !== "chunked" && framing.length <= wholeBytes) {
      const body = await this.#whole(framing.length);
      end(true);
      return { head, body: method === "HEAD" ? null : body };
    }
    const parts = framing === "chunked"
      ? this.#chunks()
      : this.#parts(framing === "close" ? undefined : framing.length);
    return { head, body: this.#stream(parts, () => end(framing !== "close")) };
  }

  /** Waits, while nothing is asked, for what should not come: the server's goodbye, or an answer to nothing. */
  async idle(): Promise<void> {
    await this.#reader.fill().catch(() => {});
  }

  /** Cuts the connection, wherever it is. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.reusable = false;
    this.#reader.cancel().catch(() => {});
    this.#writer.abort().catch(() => {});
    this.#onClose();
  }

  async #head(upgrade: boolean): Promise<AnswerHead> {
    for (;;) {
      const bytes = await this.#reader.until(
        headEnd,
        answerLimits.headBytes,
        () => badAnswer(`its head has more than ${answerLimits.headBytes} bytes`),
      );
      this.heard ||= bytes !== undefined || this.#reader.held > 0;
      if (bytes === undefined) throw this.#noHead();
      const head = parseAnswerHead(bytes);
      if (head.status >= 200 && head.status <= 599 || upgrade && head.status === 101) return head;
      if (head.status === 101 || head.status < 100 || head.status > 599) {
        throw badAnswer(`its status is ${head.status}, which was not asked for`);
      }
    }
  }

  /** What a connection means that ends before a head has. */
  #noHead(): Failure {
    if (!this.heard) return closedEarly("without an answer");
    try {
      // Its first line alone is whole, if any is.
      const bytes = this.#reader.take(answerLimits.headBytes);
      const end = bytes.findIndex((byte) => byte === 13 || byte === 10);
      parseAnswerHead(end < 0 ? bytes : bytes.subarray(0, end));
    } catch (error) {
      return brokenOff(error);
    }
    return closedEarly("in the middle of its answer's head");
  }

  async #whole(length: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#reader.held < length) {
      if (!await this.#reader.fill()) throw closedEarly(`behind ${this.#reader.held} of ${length} bytes of its body`);
    }
    return this.#reader.take(length);
  }

  /** The parts of a body, empty ones left out. */
  async *#parts(length: number | undefined): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    let rest = length ?? Infinity;
    while (rest > 0) {
      if (this.#reader.held === 0 && !await this.#reader.fill()) {
        if (length === undefined) return;
        throw closedEarly(`behind ${length - rest} of ${length} bytes of its body`);
      }
      const part = this.#reader.take(rest);
      rest -= part.length;
      if (part.length > 0) yield part;
    }
  }

  async *#chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    for (;;) {
      const size = chunkSize(await this.#line());
      if (size === 0) break;
      yield* this.#parts(size);
      if ((await this.#line()).length > 0) throw badAnswer("a chunk of its body is longer than it says");
    }
    // Trailers have no place in an answer as the web has it.
    for (let total = 0;;) {
      const { length } = await this.#line();
      if (length === 0) return;
      if ((total += length) > trailerBytes) throw badAnswer(`its trailers have more than ${trailerBytes} bytes`);
    }
  }

  async #line(): Promise<Uint8Array> {
    const line = await this.#reader.until(
      lineEnd,
      lineBytes,
      () => badAnswer("a chunk of its body has no size where one should be"),
    );
    if (line === undefined) throw closedEarly("in the middle of its body");
    return line;
  }

  #stream(
    parts: AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>,
    onEnd: () => void,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      pull: async (controller) => {
        try {
          const { done, value } = await parts.next();
          if (!done) return controller.enqueue(value);
          onEnd();
          controller.close();
        } catch (error) {
          this.close();
          onEnd();
          throw brokenOff(error);
        }
      },
      cancel: () => {
        this.close();
        onEnd();
      },
    }, { highWaterMark: 0 });
  }

  /** Where the request's body goes. */
  #sink(chunked: boolean, onSent: () => void): WritableStream<Uint8Array> {
    const writer = this.#writer;
    return new WritableStream({
      async write(part) {
        if (part.byteLength === 0) return;
        await writer.write(chunked ? chunkOf(part) : part);
      },
      async close() {
        if (chunked) await writer.write(lastChunk);
        onSent();
      },
    });
  }
}

/** In one piece: each write is a system call, and a packet. */
function chunkOf(part: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = encoder.encode(`${part.byteLength.toString(16)}\r\n`);
  const chunk = new Uint8Array(size.length + part.length + 2);
  chunk.set(size);
  chunk.set(part, size.length);
  chunk.set([13, 10], size.length + part.length);
  return chunk;
}

const lastChunk = encoder.encode("0\r\n\r\n");
