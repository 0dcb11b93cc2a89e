import type { Context } from "hono";
import { Failure } from "../core/errors.ts";
import { TerminalSizeSchema } from "../core/exec.ts";
import { parse } from "../core/parse.ts";
import { type Channel, decodeMessage, encodeMessage, type OutputChannel } from "../core/stdio_frames.ts";
import type { TerminalSize } from "../core/task.ts";
import type { WaitingInput } from "../tasks/waiting_input.ts";
import { maxMessageBytes, type Upgrade, type WebSocketConnection } from "../core/web_socket.ts";
import type { Bindings } from "./client_address.ts";
import { problemOf } from "./errors.ts";

/** A message is a frame: one byte more than its payload. */
const maxPayloadBytes = maxMessageBytes - 1;

/** Where a client's messages go. */
export interface Inputs {
  readonly stdin: WaitingInput | undefined;
  /** Resizes its terminal, where it has one. */
  readonly resize: (size: TerminalSize) => Promise<void>;
}

/** The handshake of a request. @throws invalid_argument for one that does not ask for a WebSocket. */
export function upgradeOf(c: Context<{ Bindings: Bindings }>): Upgrade {
  const upgrade = c.env?.connection?.upgrade;
  if (upgrade !== undefined) return upgrade;
  throw new Failure(
    "invalid_argument",
    `cannot answer ${c.req.path}: it is a WebSocket's, wanted the header Upgrade: websocket`,
  );
}

/** The daemon's side of a connection that carries a process's streams. @see ../core/stdio_frames.ts */
export class ProcessSocket {
  readonly connection: WebSocketConnection;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;

  constructor(connection: WebSocketConnection) {
    this.connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#reader = connection.readable.getReader();
    // Whoever writes or reads is told; nobody has to.
    this.#writer.closed.catch(() => {});
    this.#reader.closed.catch(() => {});
  }

  /**
   * Sends output. Resolves when there is room for more, or the client is gone; never rejects.
   * @param chunk of any length.
   */
  async output(channel: OutputChannel, chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += maxPayloadBytes) {
      this.#send(channel, chunk.subarray(at, at + maxPayloadBytes));
    }
    await this.#writer.ready.catch(() => {});
  }

  /** Tells how it went, as the last message, and says goodbye. */
  async finish(result: Promise<unknown>): Promise<void> {
    const last = await result.then((exit) => ({ exit }), (error) => ({ error: problemOf(error) }));
    this.#send("result", new TextEncoder().encode(JSON.stringify(last)));
    await this.#writer.close().catch(() => {});
  }

  /** The next message, or undefined when the client has gone. */
  async next(): Promise<{ readonly channel: Channel; readonly payload: Uint8Array } | undefined> {
    const { value } = await this.#reader.read().catch(() => ({ value: undefined }));
    return value === undefined ? undefined : decodeMessage(value);
  }

  /** Carries what the client sends, until it goes. What it must not send is the end of the connection; never rejects. */
  async takeInput({ stdin, resize }: Inputs): Promise<void> {
    try {
      for (let message = await this.next(); message !== undefined; message = await this.next()) {
        const { channel, payload } = message;
        if (channel === "stdin") await stdin?.write(payload.slice(), this.connection.closed);
        else if (channel === "stdinEnd") stdin?.close();
        else if (channel === "resize") {
          await resize(parse(TerminalSizeSchema, readJson(payload), "cannot resize the terminal"));
        } else throw new Failure("invalid_argument", `cannot take a message of channel ${channel} from a client`);
      }
    } catch (error) {
      this.connection.close({ code: 1008, reason: problemOf(error).detail.slice(0, 100) });
    }
  }

  #send(channel: OutputChannel, payload: Uint8Array): void {
    this.#writer.write(encodeMessage(channel, payload)).catch(() => {});
  }
}

/** @throws invalid_argument. */
export function readJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (cause) {
    throw new Failure("invalid_argument", "cannot read a message of the WebSocket: it is no JSON", { cause });
  }
}
