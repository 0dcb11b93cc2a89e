import { codeOf } from "../../core/errors.ts";
import type { Connected } from "../../network/container_network.ts";
import { badAnswer, brokenOff, closedEarly } from "../failures.ts";
import type { Server, ServerAnswer, ServerCall } from "../protocol.ts";
import { HttpConnection, type WireAnswer, type WireRequest } from "./connection.ts";
import { handshakeKey, ServerSocket } from "./web_socket.ts";

/** Shorter than any server keeps a connection that nobody uses: one that is used again is not just being closed. */
const keepMs = 1000;
/** How often a container that is not ready is asked again, at first and at last. */
const probeMs = { first: 1, last: 50 } as const;

/** What is different between the contracts of containers that serve HTTP. */
export interface Dialect extends Disposable {
  /** What its readiness waits for, as a message goes on. */
  readonly wanted: string;
  /** What is to be asked until it is ready; undefined where a connection is enough. */
  readonly readyPath: string | undefined;
  /** @throws unavailable where nobody listens. */
  connect(signal: AbortSignal): Promise<Connected>;
  request(call: ServerCall): WireRequest;
  /** What goes on to the caller. @throws failed_precondition (reason `bad_answer`). */
  answer(head: { readonly status: number; readonly headers: Headers }): Pick<ServerAnswer, "status" | "headers">;
}

/** A container that serves HTTP/1.1, with the connections to it. */
export class HttpServer implements Server {
  readonly #dialect: Dialect;
  /** Connections that nobody uses, the one used last at the end. */
  readonly #idle: HttpConnection[] = [];
  readonly #open = new Set<HttpConnection>();
  #sweeping: ReturnType<typeof setTimeout> | undefined;

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  get wanted(): string {
    return this.#dialect.wanted;
  }

  async ready(signal: AbortSignal): Promise<void> {
    for (let pauseMs: number = probeMs.first;; pauseMs = Math.min(pauseMs * 2, probeMs.last)) {
      signal.throwIfAborted();
      if (await this.#probe(signal)) return;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #probe(signal: AbortSignal): Promise<boolean> {
    const { readyPath } = this.#dialect;
    let connection: HttpConnection;
    try {
      connection = await this.#connect(signal);
    } catch (error) {
      signal.throwIfAborted();
      if (["unavailable", "deadline_exceeded"].includes(codeOf(error))) return false;
      throw error;
    }
    if (readyPath === undefined) {
      this.#keep(connection);
      return true;
    }
    const cut = () => connection.close();
    signal.addEventListener("abort", cut);
    try {
      const headers = new Map([["host", "localhost"], ["user-agent", "mayfly-probe"]]);
      const request = { method: "GET", target: readyPath, headers, carry: undefined, length: undefined };
      const { head: { status }, body } = await connection.exchange(request, () => this.#keep(connection));
      if (body instanceof ReadableStream) await body.cancel();
      return status >= 200 && status < 400;
    } catch {
      connection.close();
      return false;
    } finally {
      signal.removeEventListener("abort", cut);
    }
  }

  async answer(call: ServerCall): Promise<ServerAnswer> {
    const { signal } = call;
    const wire = this.#dialect.request(call);
    const upgrade = wire.upgrade === true ? await handshakeKey() : undefined;
    if (upgrade !== undefined) {
      wire.headers.set("connection", "Upgrade");
      wire.headers.set("upgrade", "websocket");
      wire.headers.set("sec-websocket-version", "13");
      wire.headers.set("sec-websocket-key", upgrade.key);
    }
    try {
      const { head, body, wire: raw } = await this.#exchange(wire, signal);
      if (raw === undefined) return { ...this.#dialect.answer(head), body };
      const { status, headers } = head;
      if (headers.get("sec-websocket-accept") !== upgrade?.accept || headers.has("sec-websocket-extensions")) {
        raw.cut();
        throw badAnswer("its handshake of a WebSocket does not fit the request's");
      }
      return { status, headers, body, socket: new ServerSocket(raw) };
    } catch (error) {
      signal.throwIfAborted();
      // It did listen when it was ready.
      if (codeOf(error) === "unavailable") throw closedEarly("and does not listen any more", error);
      throw brokenOff(error);
    }
  }

  async #exchange(wire: WireRequest, signal: AbortSignal): Promise<WireAnswer> {
    for (;;) {
      signal.throwIfAborted();
      const used = this.#idle.pop();
      const connection = used ?? await this.#connect(signal);
      const cut = () => connection.close();
      signal.addEventListener("abort", cut);
      if (signal.aborted) cut();
      try {
        return await connection.exchange(wire, () => {
          signal.removeEventListener("abort", cut);
          this.#keep(connection);
        });
      } catch (error) {
        signal.removeEventListener("abort", cut);
        connection.close();
        // It was closed as it was taken: nothing of the request has been looked at, and it can be sent again.
        const again = used !== undefined && !connection.heard && wire.carry === undefined && safe.has(wire.method);
        if (!again || signal.aborted) throw error;
      }
    }
  }

  async #connect(signal: AbortSignal): Promise<HttpConnection> {
    const connected = await this.#dialect.connect(signal);
    const connection = new HttpConnection(connected, () => this.#open.delete(connection));
    this.#open.add(connection);
    return connection;
  }

  /** Keeps a connection for the next request, as long as nothing comes over it and it is not too old. */
  #keep(connection: HttpConnection): void {
    if (!connection.reusable) return;
    this.#idle.push(connection);
    const { uses } = connection;
    connection.idle().then(() => {
      if (connection.uses === uses) this.#forget(connection);
    });
    this.#sweeping ??= setTimeout(() => this.#sweep(), keepMs);
  }

  #sweep(): void {
    this.#sweeping = undefined;
    const before = performance.now() - keepMs;
    for (const connection of this.#idle.filter(({ endedMs }) => endedMs <= before)) this.#forget(connection);
    if (this.#idle.length > 0) this.#sweeping = setTimeout(() => this.#sweep(), keepMs);
  }

  #forget(connection: HttpConnection): void {
    const at = this.#idle.indexOf(connection);
    if (at < 0) return;
    this.#idle.splice(at, 1);
    connection.close();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#sweeping);
    for (const connection of this.#open) connection.close();
    this.#dialect[Symbol.dispose]();
  }
}

/** Methods that may be tried again. */
const safe: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
