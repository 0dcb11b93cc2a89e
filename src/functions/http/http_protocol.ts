import { codeOf } from "../../core/errors.ts";
import type { FunctionRecord } from "../../core/function.ts";
import { revisionName } from "../../core/revision.ts";
import type { Task } from "../../core/task.ts";
import type { ContainerNetwork, ContainerNetworks } from "../../network/container_network.ts";
import { badAnswer, brokenOff, closedEarly, startFailed } from "../failures.ts";
import type { Protocol, Server, ServerAnswer, ServerCall } from "../protocol.ts";
import { HttpConnection, type WireAnswer, type WireRequest } from "./connection.ts";
import { answerHeaders, bodyLength, requestHeaders } from "./headers.ts";
import { handshakeKey, ServerSocket } from "./web_socket.ts";

/** Shorter than any server keeps a connection that nobody uses: one that is used again is not just being closed. */
const keepMs = 1000;
/** How often a container that is not ready is asked again, at first and at last. */
const probeMs = { first: 1, last: 50 } as const;

/**
 * The container contract of Knative and Cloud Run: a server of HTTP/1.1 on `$PORT`.
 * @see https://github.com/knative/specs/blob/main/specs/serving/runtime-contract.md
 * @see https://cloud.google.com/run/docs/container-contract
 */
export class HttpProtocol implements Protocol {
  readonly #networks: ContainerNetworks;

  constructor(networks: ContainerNetworks) {
    this.#networks = networks;
  }

  environment({ name, revision, port }: FunctionRecord): Readonly<Record<string, string>> {
    return {
      PORT: String(port),
      K_SERVICE: name,
      K_CONFIGURATION: name,
      K_REVISION: revisionName(name, revision),
    };
  }

  concurrency({ concurrency }: FunctionRecord): number {
    return concurrency;
  }

  stopGraceMs({ stopGraceMs }: FunctionRecord): number {
    return stopGraceMs;
  }

  attach({ pid }: Task, record: FunctionRecord): Server {
    if (pid === undefined) throw startFailed(new Error("its runtime does not tell the process id"));
    return new HttpServer(this.#networks.open(pid), record);
  }
}

class HttpServer implements Server {
  readonly #network: ContainerNetwork;
  readonly #record: FunctionRecord;
  /** Connections that nobody uses, the one used last at the end. */
  readonly #idle: HttpConnection[] = [];
  readonly #open = new Set<HttpConnection>();
  #sweeping: ReturnType<typeof setTimeout> | undefined;

  constructor(network: ContainerNetwork, record: FunctionRecord) {
    this.#network = network;
    this.#record = record;
  }

  get wanted(): string {
    const { port, readyPath } = this.#record;
    return readyPath === undefined
      ? `nothing listened on port ${port}, where PORT says`
      : `GET ${readyPath} on port ${port} was not answered with 200 to 399`;
  }

  async ready(signal: AbortSignal): Promise<void> {
    for (let pauseMs: number = probeMs.first;; pauseMs = Math.min(pauseMs * 2, probeMs.last)) {
      signal.throwIfAborted();
      if (await this.#probe(signal)) return;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #probe(signal: AbortSignal): Promise<boolean> {
    const { readyPath } = this.#record;
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
      const headers = new Headers({ host: "localhost", "user-agent": "mayfly-probe" });
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
    const { request, signal, carry } = call;
    const upgrade = request.upgrade === undefined ? undefined : await handshakeKey();
    const headers = requestHeaders(call);
    if (upgrade !== undefined) {
      headers.set("connection", "Upgrade");
      headers.set("upgrade", "websocket");
      headers.set("sec-websocket-version", "13");
      headers.set("sec-websocket-key", upgrade.key);
    }
    const wire: WireRequest = {
      method: request.method,
      target: `${request.path || "/"}${request.query === "" ? "" : `?${request.query}`}`,
      headers,
      upgrade: upgrade !== undefined,
      carry,
      length: bodyLength(request),
    };
    try {
      const { head: { status, headers }, body, wire: raw } = await this.#exchange(wire, signal);
      if (raw === undefined) return { status, headers: answerHeaders(headers), body };
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
    const connected = await this.#network.connect(this.#record.port, signal);
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
    this.#network[Symbol.dispose]();
  }
}

/** Methods that may be tried again. */
const safe: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
