import { once } from "node:events";
import { type ClientOptions, type RawData, WebSocket } from "ws";
import type { Host } from "../core/host.ts";
import { maxMessageBytes, TextMessage } from "../core/web_socket.ts";
import { connectFailure } from "./http_failures.ts";
import { type MessageOptions, MessageStreams } from "./message_streams.ts";
import { toResponse } from "./node_fetch.ts";

/** The streams over a socket of the `ws` package. */
export function wsConnection(socket: WebSocket, options: MessageOptions): MessageStreams {
  const streams = new MessageStreams({
    send: (message) =>
      new Promise((resolve, reject) =>
        socket.send(
          message,
          { binary: !(message instanceof TextMessage) },
          (error) => error ? reject(error) : resolve(),
        )
      ),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    ping: () => socket.ping(),
    close: (code, reason) => socket.close(code, reason),
    terminate: () => socket.terminate(),
  }, options);
  let failure: unknown;
  socket.on(
    "message",
    (data, isBinary) => isBinary ? streams.received(bytesOf(data)) : streams.receivedText(bytesOf(data)),
  );
  socket.on("pong", () => streams.alive());
  socket.on("error", (error) => failure = error);
  socket.on("close", (code, reason) => streams.ended({ code, reason: String(reason) }, failure));
  return streams;
}

/** @see Host.connectWebSocket */
export const connectWebSocket: Host["connectWebSocket"] = async ({ url, path, headers = {}, signal }) => {
  signal?.throwIfAborted();
  const { protocol, host, pathname, search } = new URL(url);
  const options: ClientOptions = {
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    headers: { host, ...headers },
  };
  const socket = path === undefined
    ? new WebSocket(`${protocol.replace("http", "ws")}//${host}${pathname}${search}`, options)
    : new WebSocket(`ws+unix://${path}:${pathname}${search}`, options);
  // From the beginning on: the first message may come together with the handshake.
  const streams = wsConnection(socket, { keepAlive: false });
  const refused = Promise.withResolvers<Response>();
  socket.on("unexpected-response", (_request, answer) => refused.resolve(toResponse(answer)));
  const onAbort = () => socket.terminate();
  signal?.addEventListener("abort", onAbort);
  try {
    return await Promise.race([once(socket, "open").then(() => streams), refused.promise]);
  } catch (error) {
    signal?.throwIfAborted();
    throw connectFailure(path ?? host, signal, error);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
};

/** A message in memory of its own. */
function bytesOf(data: RawData): Uint8Array<ArrayBuffer> {
  return data instanceof ArrayBuffer
    ? new Uint8Array(data)
    : new Uint8Array(Array.isArray(data) ? Buffer.concat(data) : data);
}
