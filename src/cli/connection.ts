import { type Client, createClient } from "../api/client.ts";
import { type Config, environmentOf } from "../config.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { version } from "../version.ts";
import type { OpenDaemon } from "./command.ts";

type Fetch = (request: Request) => Promise<Response>;

/** A way to a daemon: the one that runs, over its socket, or one that is opened in this process. */
export interface Connection extends AsyncDisposable {
  /** The admin API. */
  readonly api: Client;
  /** Sends what the admin API's client does not know: requests to functions. */
  readonly fetch: Fetch;
}

export interface ConnectOptions {
  readonly host: Host;
  readonly config: Config;
  readonly openDaemon: OpenDaemon;
  /** Takes a line for the person. */
  readonly warn: (text: string) => void;
}

/** The path of the admin socket. */
export function socketPath(config: Config): string {
  return `${config.run}/mayfly.sock`;
}

/**
 * Reaches the daemon, or opens one where none runs, so that every command works on a machine without one.
 * @throws permission_denied where the socket is somebody else's; what opening a daemon throws.
 */
export async function connect({ host, config, openDaemon, warn }: ConnectOptions): Promise<Connection> {
  const path = socketPath(config);
  const overSocket: Fetch = (request) => host.fetchUnix(path, request);
  try {
    const answer = await overSocket(new Request("http://mayfly/healthz"));
    await answer.body?.cancel();
    const theirs = answer.headers.get("x-mayfly-version");
    if (theirs !== null && theirs !== version) {
      warn(`the daemon is version ${theirs}, this command ${version}: restart the daemon to use one version`);
    }
    return connection(overSocket, () => Promise.resolve());
  } catch (cause) {
    if (codeOf(cause) === "permission_denied") {
      throw new Failure(
        "permission_denied",
        `cannot reach the daemon at "${path}": the socket is its owner's alone, use sudo`,
        { cause },
      );
    }
    // Nobody answers there: the daemon's lock on its root decides whether one may be opened here.
  }
  try {
    const daemon = await openDaemon(host, config);
    return connection((request) => daemon.fetch(request), () => daemon[Symbol.asyncDispose]());
  } catch (cause) {
    throw new Failure(
      codeOf(cause),
      `no daemon answers at "${path}", and none can be opened here: ${messageOf(cause)} ` +
        `(a daemon elsewhere? set ${environmentOf("run")} or --run to its folder)`,
      { cause },
    );
  }
}

function connection(fetch: Fetch, close: () => PromiseLike<void>): Connection {
  return { api: createClient(fetch), fetch, [Symbol.asyncDispose]: close };
}
