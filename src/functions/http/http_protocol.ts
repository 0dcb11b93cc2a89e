import type { FunctionRecord } from "../../core/function.ts";
import { revisionName } from "../../core/revision.ts";
import type { Task } from "../../core/task.ts";
import type { ContainerNetwork, ContainerNetworks } from "../../network/container_network.ts";
import { startFailed } from "../failures.ts";
import type { Protocol, Server } from "../protocol.ts";
import { answerHeaders, bodyLength, requestHeaders } from "./headers.ts";
import { type Dialect, HttpServer } from "./http_server.ts";

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
    return new HttpServer(dialect(this.#networks.open(pid), record));
  }
}

function dialect(network: ContainerNetwork, { port, readyPath }: FunctionRecord): Dialect {
  return {
    wanted: readyPath === undefined
      ? `nothing listened on port ${port}, where PORT says`
      : `GET ${readyPath} on port ${port} was not answered with 200 to 399`,
    readyPath,
    connect: (signal) => network.connect(port, signal),
    request: (call) => {
      const { method, path, query, upgrade } = call.request;
      return {
        method,
        target: `${path || "/"}${query === "" ? "" : `?${query}`}`,
        headers: requestHeaders(call),
        upgrade: upgrade !== undefined,
        carry: call.carry,
        length: bodyLength(call.request),
      };
    },
    answer: ({ status, headers }) => ({ status, headers: answerHeaders(headers) }),
    [Symbol.dispose]: () => network[Symbol.dispose](),
  };
}
