import { type Config, environmentOf } from "../config.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import type { OpenDaemon } from "./command.ts";

/** A way to the admin API: over the running daemon's socket, or to a daemon opened in this process. */
export interface Connection extends AsyncDisposable {
  /** Whether a daemon answers that runs on its own. */
  readonly remote: boolean;
  fetch(request: Request): Promise<Response>;
}

/** The path of the admin socket. */
export function socketPath(config: Config): string {
  return `${config.run}/mayfly.sock`;
}

/**
 * Reaches the daemon, or opens one where none runs, so that every command works on a machine without one.
 * @param options.daemonOnly refuses to open one: for commands about what runs.
 */
export async function connect(
  host: Host,
  config: Config,
  openDaemon: OpenDaemon,
  version: string,
  warn: (text: string) => void,
): Promise<Connection> {
  const path = socketPath(config);
  try {
    const answer = await host.fetchUnix(path, new Request("http://mayfly/healthz"));
    await answer.body?.cancel();
    const theirs = answer.headers.get("x-mayfly-version");
    if (theirs !== null && theirs !== version) {
      warn(`the daemon is version ${theirs}, this command ${version}: restart the daemon to use one version`);
    }
    return {
      remote: true,
      fetch: (request) => host.fetchUnix(path, request),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  } catch (error) {
    if (codeOf(error) === "permission_denied") {
      throw new Failure(
        "permission_denied",
        `cannot reach the daemon at "${path}": the socket is its owner's alone, use sudo`,
        {
          cause: error,
        },
      );
    }
    // Nobody answers there: the daemon's lock on its root decides whether one may be opened here.
  }
  try {
    const daemon = await openDaemon(host, config);
    return {
      remote: false,
      fetch: (request) => daemon.fetch(request),
      [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
    };
  } catch (cause) {
    throw new Failure(
      codeOf(cause),
      `no daemon answers at "${path}", and none can be opened here: ${messageOf(cause)} ` +
        `(a daemon elsewhere? set ${environmentOf("run")} or --run to its folder)`,
      { cause },
    );
  }
}

/** Reads an answer's JSON. @throws what the API's problem says. */
export async function result<T>(answer: { json(): Promise<T>; ok: boolean; status: number }): Promise<T> {
  if (answer.ok) return await answer.json();
  throw await problem(answer);
}

/** The failure that an answer of the API describes. */
export async function problem(answer: { json(): Promise<unknown>; status: number }): Promise<Failure> {
  const body = await answer.json().catch(() => ({})) as Record<string, unknown>;
  return new Failure(codeOf(body), String(body["detail"] ?? body["title"] ?? `the daemon answered ${answer.status}`), {
    details: body,
  });
}
