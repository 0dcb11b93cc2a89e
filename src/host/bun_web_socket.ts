import type { Connection, FetchHandler } from "../core/host.ts";
import { maxMessageBytes, TextMessage } from "../core/web_socket.ts";
import type { BunServer, BunSocket, BunSocketEvents } from "./bun_shapes.ts";
import { goingAway } from "./http_failures.ts";
import { MessageStreams } from "./message_streams.ts";
import { type Accepted, hand, UpgradeOnce } from "./upgrade_once.ts";

/** What a connection is known by: Bun hands it to every callback. */
interface Opened extends Accepted {
  streams?: MessageStreams;
  /** Called when the kernel has taken what waited, and when the connection is gone. */
  drained: () => void;
  gone: boolean;
}

/** The WebSockets of one `Bun.serve`. */
export class BunSockets {
  readonly #open = new Set<BunSocket>();

  /** Answers a request for a WebSocket. @returns undefined where it has become one. */
  async upgrade(
    request: Request,
    connection: Connection,
    server: BunServer,
    answer: FetchHandler,
  ): Promise<Response | undefined> {
    const once = new UpgradeOnce();
    const response = await answer(request, { ...connection, upgrade: once.upgrade });
    const accepted = once.acceptedBy(response);
    if (accepted === undefined) return response;
    const { protocol } = accepted.options;
    const headers: Record<string, string> = {};
    if (protocol !== undefined) headers["sec-websocket-protocol"] = protocol;
    const data: Opened = { ...accepted, drained: () => {}, gone: false };
    if (server.upgrade(request, { data, headers })) return undefined;
    return new Response("no handshake of a WebSocket of version 13\n", { status: 400 });
  }

  close(force: boolean): void {
    for (const socket of this.#open) {
      if (force) socket.terminate();
      else socket.close(1001, goingAway);
    }
  }

  readonly events: BunSocketEvents = {
    maxPayloadLength: maxMessageBytes,
    backpressureLimit: 2 * maxMessageBytes,
    // A connection whose peer is not read would seem idle.
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: false,
    open: (socket) => {
      this.#open.add(socket);
      const connection = openedOf(socket);
      connection.streams = new MessageStreams({
        send: (message) => send(socket, connection, message),
        pause: () => socket.pause(),
        resume: () => socket.resume(),
        ping: () => void socket.ping(),
        close: (code, reason) => socket.close(code, reason),
        terminate: () => socket.terminate(),
      }, { keepAlive: true, text: connection.options.text });
      hand(connection.streams, connection.accept);
    },
    message(socket, message) {
      const { streams } = openedOf(socket);
      if (typeof message === "string") streams?.receivedText(new TextEncoder().encode(message));
      else streams?.received(new Uint8Array(message));
    },
    drain: (socket) => openedOf(socket).drained(),
    pong: (socket) => openedOf(socket).streams?.alive(),
    close: (socket, code, reason) => {
      this.#open.delete(socket);
      const connection = openedOf(socket);
      connection.gone = true;
      connection.streams?.ended({ code, reason });
      connection.drained();
    },
  };
}

function openedOf(socket: BunSocket): Opened {
  return socket.data as Opened;
}

/** Sends a message, and waits until the kernel has all of it. */
async function send(socket: BunSocket, connection: Opened, message: Uint8Array): Promise<void> {
  const sent = message instanceof TextMessage
    ? socket.sendText(new TextDecoder("utf-8", { ignoreBOM: true }).decode(message))
    : socket.sendBinary(message);
  let taken = sent !== -1;
  while (!taken && !connection.gone) {
    await new Promise<void>((resolve) => connection.drained = resolve);
    taken = socket.getBufferedAmount() === 0;
  }
  if (connection.gone) throw new Error("the connection is gone");
}
