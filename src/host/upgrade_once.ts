import { codeOf } from "../core/errors.ts";
import type { Upgrade, UpgradeOptions, WebSocketConnection } from "../core/web_socket.ts";

/** Who takes a connection. */
export type Accept = (connection: WebSocketConnection) => Promise<void>;

/** Who takes the connection of a request, and how. */
export interface Accepted {
  readonly accept: Accept;
  readonly options: UpgradeOptions;
}

/** The `upgrade` of one request, which remembers whether its handler asked for it. */
export class UpgradeOnce {
  #accepted: Accepted | undefined;

  readonly upgrade: Upgrade = (accept, options = {}) => {
    this.#accepted = { accept, options };
    return new Response(null, { headers: { upgrade: "websocket" } });
  };

  /** Who takes the connection: undefined where the handler, or who stands before it, answers with something else. */
  acceptedBy(response: Response): Accepted | undefined {
    return response.headers.get("upgrade") === "websocket" ? this.#accepted : undefined;
  }
}

/** Whether a request asks for a WebSocket. */
export function asksForWebSocket(method: string | undefined, upgrade: string | null | undefined): boolean {
  return method === "GET" && upgrade?.toLowerCase() === "websocket";
}

/**
 * Refuses a request that asks for a WebSocket otherwise than is agreed on, before its handler has shaken a hand behind it
 * that the caller has not given.
 * @returns undefined for one that is as it should be.
 * @see https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
 */
export function brokenHandshake(headers: Headers): Response | undefined {
  const key = headers.get("sec-websocket-key") ?? "";
  if (headers.get("sec-websocket-version") === "13" && /^[A-Za-z0-9+/]{22}==$/.test(key)) return undefined;
  return new Response(null, { status: 400, headers: { "sec-websocket-version": "13" } });
}

/** Gives a connection to who takes it. What goes wrong there is reported, unless the peer has gone, and cuts it. */
export function hand(connection: WebSocketConnection, accept: Accept): void {
  accept(connection).catch((error) => {
    if (codeOf(error) !== "unavailable") console.error("cannot serve a WebSocket:", error);
    connection.writable.abort(error).catch(() => connection.close({ code: 1011 }));
  });
}
