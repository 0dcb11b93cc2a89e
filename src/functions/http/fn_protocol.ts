import type { FunctionRecord } from "../../core/function.ts";
import type { SpecMount } from "../../core/spec.ts";
import type { Task } from "../../core/task.ts";
import type { ContainerNetworks } from "../../network/container_network.ts";
import { ContainerSockets } from "../../network/container_sockets.ts";
import { badAnswer, startFailed } from "../failures.ts";
import type { Protocol, Server, ServerCall } from "../protocol.ts";
import { bodyLength, requestHeaders } from "./headers.ts";
import { type Dialect, HttpServer } from "./http_server.ts";

const folder = "/tmp/iofs";
const socketPath = `${folder}/lsnr.sock`;

/** Where a function of Fn's makes its socket. */
export const fnMounts: readonly SpecMount[] = [{
  destination: folder,
  type: "tmpfs",
  source: "tmpfs",
  options: ["nosuid", "nodev", "noexec", "mode=1777", "size=64k"],
}];

/** Fields that are of the call, and not of the caller's request alone. */
const ofCall = ["content-type", "content-length", "transfer-encoding"] as const;

/**
 * Fn's container contract, format `http-stream`: a server of HTTP/1.1 on a Unix socket, which takes one call at a time.
 * @see https://github.com/fnproject/docs/blob/master/fn/develop/function-format.md
 */
export class FnProtocol implements Protocol {
  readonly #networks: ContainerNetworks;

  constructor(networks: ContainerNetworks) {
    this.#networks = networks;
  }

  environment({ namespace, name, memoryBytes }: FunctionRecord): Readonly<Record<string, string>> {
    return {
      FN_FORMAT: "http-stream",
      FN_LISTENER: `unix:${socketPath}`,
      FN_APP_ID: namespace,
      FN_APP_NAME: namespace,
      FN_FN_ID: name,
      FN_FN_NAME: name,
      FN_MEMORY: String(Math.floor(memoryBytes / 2 ** 20)),
      FN_TYPE: "sync",
    };
  }

  concurrency(): number {
    return 1;
  }

  stopGraceMs({ stopGraceMs }: FunctionRecord): number {
    return stopGraceMs;
  }

  attach({ pid }: Task): Server {
    if (pid === undefined) throw startFailed(new Error("its runtime does not tell the process id"));
    return new HttpServer(dialect(new ContainerSockets(this.#networks.kernel, pid)));
  }
}

function dialect(sockets: ContainerSockets): Dialect {
  return {
    wanted: `nothing listened on the Unix socket ${socketPath}, where FN_LISTENER says`,
    readyPath: undefined,
    connect: (signal) => sockets.connect(socketPath, signal),
    request: (call) => ({
      method: "POST",
      target: "/call",
      headers: callHeaders(call),
      carry: call.carry,
      length: bodyLength(call.request),
    }),
    answer: ({ status, headers }) => answerOf(status, headers),
    [Symbol.dispose]: () => sockets[Symbol.dispose](),
  };
}

function callHeaders(call: ServerCall): Headers {
  const { id, request: { method, path, query, body }, deadlineMs } = call;
  const headers = new Headers({
    host: "localhost",
    "fn-call-id": id,
    "fn-deadline": new Date(deadlineMs).toISOString(),
    "fn-intent": "httprequest",
    "fn-http-method": method,
    "fn-http-request-url": `${path || "/"}${query === "" ? "" : `?${query}`}`,
  });
  requestHeaders(call).forEach((value, name) => {
    if (ofCall.some((own) => own === name)) headers.set(name, value);
    else headers.append(`fn-http-h-${name}`, value);
  });
  if (body === null) headers.set("content-length", "0");
  return headers;
}

/** A status beside 200 is what the function development kit says of a call that has failed. */
function answerOf(status: number, given: Headers) {
  const headers = new Headers();
  given.forEach((value, name) => {
    const own = /^fn-http-h-(.+)$/.exec(name)?.[1];
    if (own !== undefined && !held.has(own)) headers.append(own, value);
  });
  for (const name of ["content-type", "content-length"]) {
    const value = given.get(name);
    if (value !== null && !(name === "content-type" && headers.has(name))) headers.set(name, value);
  }
  const said = given.get("fn-http-status");
  if (status !== 200 || said === null) return { status, headers };
  const own = /^[2-5]\d\d$/.test(said) ? Number(said) : NaN;
  if (Number.isNaN(own)) throw badAnswer(`its Fn-Http-Status is ${JSON.stringify(said.slice(0, 100))}`);
  return { status: own, headers };
}

/** What a function does not say of its answer: it is of the connection. */
const held: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
