import { type ErrorCode, Failure, messageOf } from "../core/errors.ts";
import type { Connection, FetchHandler, ListenOptions } from "../core/host.ts";

const listenCodes: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: "unavailable",
  EACCES: "permission_denied",
  EPERM: "permission_denied",
  EADDRNOTAVAIL: "invalid_argument",
  EINVAL: "invalid_argument",
  ENAMETOOLONG: "invalid_argument",
  ENOENT: "not_found",
  ENOTDIR: "not_found",
};

/** What a runtime threw as it began to listen, in this project's terms. */
export function listenFailure(options: ListenOptions, error: unknown): Failure {
  const errno = errnoOf(error);
  const cure = errno === "EADDRINUSE" ? ": another program has it (ss -ltnp says which), choose another address" : "";
  const address = options.path ?? `${options.hostname ?? defaultHostname}:${options.port ?? 0}`;
  return new Failure(
    listenCodes[errno ?? ""] ?? "internal",
    `cannot listen on ${JSON.stringify(address)}: ${messageOf(error)}${cure}`,
    { cause: error, syscall: "bind", ...errno === undefined ? {} : { errno } },
  );
}

/** Where a listener without a hostname listens: this machine alone. */
export const defaultHostname = "127.0.0.1";

/** What open WebSockets are told when their listener closes. */
export const goingAway = "the server stops";

/** What a runtime threw as it connected to a Unix socket. An abort stays what it is. */
export function connectFailure(path: string, signal: AbortSignal | undefined, error: unknown): unknown {
  if (signal?.aborted) return error;
  const errno = errnoOf(error);
  const code = errno === "EACCES" || errno === "EPERM" ? "permission_denied" : "unavailable";
  return new Failure(code, `cannot reach ${JSON.stringify(path)}: ${messageOf(error)}`, {
    cause: error,
    ...errno === undefined ? {} : { errno, syscall: "connect" },
  });
}

/** A handler whose failure is a bare 500: what went wrong is reported here and told to no client. */
export function guarded(handler: FetchHandler): (request: Request, connection: Connection) => Promise<Response> {
  return async (request, connection) => {
    try {
      return await handler(request, connection);
    } catch (error) {
      console.error(`cannot answer ${request.method} ${request.url}:`, error);
      return new Response("internal error\n", { status: 500 });
    }
  };
}

function errnoOf(error: unknown): string | undefined {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}
