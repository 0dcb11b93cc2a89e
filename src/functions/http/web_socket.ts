import { Failure } from "../../core/errors.ts";
import { GrowingBytes } from "../../core/growing_bytes.ts";
import { type Closing, maxMessageBytes, TextMessage, type WebSocketConnection } from "../../core/web_socket.ts";
import type { ByteReader } from "./byte_reader.ts";

const opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** How long a server has to answer a goodbye. */
const goodbyeMs = 5000;

/** What a key's answer is made of. */
const handshakeSalt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A new key of a handshake, and what has to be answered to it. @see https://www.rfc-editor.org/rfc/rfc6455#section-4.1 */
export async function handshakeKey(): Promise<{ readonly key: string; readonly accept: string }> {
  const key = base64(crypto.getRandomValues(new Uint8Array(16)));
  const hash = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + handshakeSalt));
  return { key, accept: base64(new Uint8Array(hash)) };
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** What a WebSocket goes over. */
export interface Wire {
  readonly reader: ByteReader;
  write(bytes: Uint8Array): Promise<void>;
  /** Cuts the connection. */
  cut(): void;
}

/**
 * The client's end of a WebSocket with a container's server. What the server sends is read strictly: a frame that no server
 * may send ends the connection with 1002.
 * @see https://www.rfc-editor.org/rfc/rfc6455#section-5
 */
export class ServerSocket implements WebSocketConnection {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
  readonly closed: Promise<Closing>;
  readonly #wire: Wire;
  readonly #gone = Promise.withResolvers<Closing>();
  #goodbye: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(wire: Wire) {
    this.#wire = wire;
    this.closed = this.#gone.promise;
    this.readable = new ReadableStream({
      pull: async (controller) => {
        let message: Uint8Array<ArrayBuffer> | Closing;
        try {
          message = await this.#next();
        } catch (error) {
          this.#end({ code: 1006, reason: "" });
          throw error;
        }
        if (message instanceof Uint8Array) return controller.enqueue(message);
        this.#end(message);
        controller.close();
      },
      cancel: () => this.close(),
    }, { highWaterMark: 0 });
    this.writable = new WritableStream({
      write: async (message) => {
        await this.#send(message instanceof TextMessage ? opcode.text : opcode.binary, message);
      },
      close: () => this.close(),
      abort: () => this.#end({ code: 1006, reason: "" }),
    });
  }

  close({ code = 1000, reason = "" }: Partial<Closing> = {}): void {
    if (this.#over || this.#goodbye !== undefined) return;
    this.#goodbye = setTimeout(() => this.#end({ code: 1006, reason: "" }), goodbyeMs);
    const text = new TextEncoder().encode(reason).subarray(0, 123);
    this.#send(opcode.close, new Uint8Array([code >> 8, code & 0xff, ...text])).catch(() => {});
  }

  #end(closing: Closing): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#goodbye);
    this.#gone.resolve(closing);
    // What was written last is with the kernel, which still sends it.
    this.#wire.cut();
  }

  /** The next message, or the server's goodbye, which is answered. */
  async #next(): Promise<Uint8Array<ArrayBuffer> | Closing> {
    let first: number | undefined;
    let parts: GrowingBytes | undefined;
    for (;;) {
      const { final, code, payload } = await this.#frame();
      if (code === opcode.ping) {
        await this.#send(opcode.pong, payload);
        continue;
      }
      if (code === opcode.pong) continue;
      if (code === opcode.close) {
        const goodbye = closingOf(payload);
        if (goodbye === undefined) throw this.#refuse(1002, "a goodbye that none may be");
        if (this.#goodbye === undefined) await this.#send(opcode.close, payload.subarray(0, 2)).catch(() => {});
        return goodbye;
      }
      if ((code === opcode.continuation) !== (first !== undefined)) {
        throw this.#refuse(1002, "a frame out of its order");
      }
      first ??= code;
      if ((parts?.length ?? 0) + payload.length > maxMessageBytes) {
        throw this.#refuse(1009, `a message of more than ${maxMessageBytes} bytes`);
      }
      if (!final || parts !== undefined) (parts ??= new GrowingBytes()).push(payload);
      if (!final) continue;
      const message = parts?.bytes() ?? payload;
      if (first === opcode.binary) return message;
      try {
        new TextDecoder("utf-8", { fatal: true }).decode(message);
      } catch {
        throw this.#refuse(1007, "text that is not UTF-8");
      }
      return new TextMessage(message.buffer, message.byteOffset, message.length);
    }
  }

  async #frame(): Promise<
    { readonly final: boolean; readonly code: number; readonly payload: Uint8Array<ArrayBuffer> }
  > {
    const [begin = 0, second = 0] = await this.#bytes(2);
    const code = begin & 15;
    let length = second & 127;
    const control = code >= opcode.close;
    const known: readonly number[] = Object.values(opcode);
    if ((begin & 0x70) !== 0 || second >= 128 || !known.includes(code) || (control && (length > 125 || begin < 128))) {
      throw this.#refuse(1002, "a frame that no server may send");
    }
    if (length === 126) length = new DataView((await this.#bytes(2)).buffer).getUint16(0);
    else if (length === 127) {
      length = Number(new DataView((await this.#bytes(8)).buffer).getBigUint64(0));
      if (length > maxMessageBytes) throw this.#refuse(1009, `a message of more than ${maxMessageBytes} bytes`);
    }
    return { final: begin >= 128, code, payload: await this.#bytes(length) };
  }

  /** In memory of their own. */
  async #bytes(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const { reader } = this.#wire;
    while (reader.held < length) {
      if (!await reader.fill()) throw new Failure("unavailable", "the function's server broke its WebSocket off");
    }
    // A part of Node's is a Buffer, whose `slice` copies nothing.
    return new Uint8Array(reader.take(length));
  }

  #refuse(code: number, what: string): Failure {
    this.close({ code, reason: what });
    return new Failure("failed_precondition", `the function's server sent ${what}`, {
      details: { reason: "bad_answer", phase: "answer" },
    });
  }

  async #send(code: number, payload: Uint8Array): Promise<void> {
    const { length } = payload;
    const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
    const frame = new Uint8Array(2 + extended + 4 + length);
    const view = new DataView(frame.buffer);
    frame[0] = 128 | code;
    frame[1] = 128 | (extended === 0 ? length : extended === 2 ? 126 : 127);
    if (extended === 2) view.setUint16(2, length);
    else if (extended === 8) view.setBigUint64(2, BigInt(length));
    const start = 2 + extended + 4;
    const mask = crypto.getRandomValues(frame.subarray(start - 4, start));
    for (let i = 0; i < length; i++) frame[start + i] = payload[i]! ^ mask[i & 3]!;
    await this.#wire.write(frame);
  }
}

/**
 * What a goodbye says; undefined for a code that is never sent, or a reason that is no text: none could be handed on.
 * @see https://www.rfc-editor.org/rfc/rfc6455#section-7.4
 */
function closingOf(payload: Uint8Array): Closing | undefined {
  if (payload.length === 0) return { code: 1005, reason: "" };
  const [high = 0, low] = payload;
  if (low === undefined) return undefined;
  const code = high * 256 + low;
  const known = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
  if (!known && !(code >= 3000 && code <= 4999)) return undefined;
  try {
    return { code, reason: new TextDecoder("utf-8", { fatal: true }).decode(payload.subarray(2)) };
  } catch {
    return undefined;
  }
}

/** Carries messages both ways until both sides have said goodbye, or one is gone. @param onMessage told of each one. */
export async function relay(
  client: WebSocketConnection,
  server: WebSocketConnection,
  onMessage: (from: "client" | "server", bytes: number) => void,
): Promise<void> {
  await Promise.all([
    carry(client, server, (bytes) => onMessage("client", bytes)),
    carry(server, client, (bytes) => onMessage("server", bytes)),
  ]);
}

async function carry(
  from: WebSocketConnection,
  to: WebSocketConnection,
  onMessage: (bytes: number) => void,
): Promise<void> {
  const writer = to.writable.getWriter();
  writer.closed.catch(() => {});
  const reader = from.readable.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      onMessage(part.value.length);
      await writer.write(part.value);
    }
  } catch {
    // Which of the two is gone is told by how they were closed.
  }
  const closing = await Promise.race([from.closed, to.closed]);
  // These say that no code came, or no goodbye at all, and are never sent.
  const code = closing.code === 1005 ? 1000 : closing.code === 1006 || closing.code === 1015 ? 1011 : closing.code;
  to.close({ code, reason: closing.code === 1006 ? "" : closing.reason });
  await reader.cancel().catch(() => {});
  await to.closed;
}
