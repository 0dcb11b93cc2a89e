import { codeOf } from "../core/errors.ts";
import type { Upgrade, WebSocketConnection } from "../core/web_socket.ts";

/** Who takes a connection. */
export type Accept = (connection: WebSocketConnection) => Promise<void>;

/** The `upgrade` of one request, which remembers whether its handler asked for it. */
export class UpgradeOnce {
  #accept: Accept | undefined;

  readonly upgrade: Upgrade = (accept) => {
    this.#accept = accept;
    return new Response(null, { headers: { upgrade: "websocket" } });
  };

  /** Who takes the connection: undefined where the handler, or who stands before it, answers with something else. */
  acceptedBy(response: Response): Accept | undefined {
    return response.headers.get("upgrade") === "websocket" ? this.#accept : undefined;
  }
}

/** Whether a request asks for a WebSocket. */
export function asksForWebSocket(method: string | undefined, upgrade: string | null | undefined): boolean {
  return method === "GET" && upgrade?.toLowerCase() === "websocket";
}

/** Gives a connection to who takes it. What goes wrong there is reported, unless the peer has gone, and cuts it. */
export function hand(connection: WebSocketConnection, accept: Accept): void {
  accept(connection).catch((error) => {
    if (codeOf(error) !== "unavailable") console.error("cannot serve a WebSocket:", error);
    connection.writable.abort(error).catch(() => connection.close({ code: 1011 }));
  });
}
