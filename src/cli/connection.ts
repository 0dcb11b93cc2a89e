import { type Client, createClient } from "../api/client.ts";
import { type Config, environmentOf } from "../config.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { version } from "../version.ts";
import { type WebSocketConnection, webSocketPair } from "../core/web_socket.ts";
import { succeeded } from "./answer.ts";
import type { DaemonHandle, OpenDaemon } from "./command.ts";
import { reachOrOpen } from "./reach_or_open.ts";

type Fetch = (request: Request) => Promise<Response>;

/** A way to a daemon: the one that runs, over its socket, or one that is opened in this process. */
export interface Connection extends AsyncDisposable {
  /** The admin API. */
  readonly api: Client;
  /** Sends what the admin API's client does not know: requests to functions. */
  readonly fetch: Fetch;
  /** Whether the daemon is one of this process's own, which ends with this command. */
  readonly own: boolean;
  /** Opens a WebSocket of the admin API. @throws what the daemon says that refuses it. */
  open(path: string): Promise<WebSocketConnection>;
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

/** How long a command waits for a daemon's start, or another command's work. */
const patienceMs = 10_000;

/**
 * Reaches the daemon, or opens one where none runs, so that every command works on a machine without one.
 * @throws permission_denied where the socket is somebody else's; what opening a daemon throws.
 */
export async function connect({ host, config, openDaemon, warn }: ConnectOptions): Promise<Connection> {
  return await reachOrOpen({
    reach: () => reach(host, socketPath(config), warn),
    open: () => openHere(host, config, openDaemon),
    patienceMs,
    warn,
  });
}

/** Asks the daemon whether it is there. @returns its version; undefined where nobody answers, the empty text where it has none. */
export async function daemonAt(host: Host, path: string): Promise<string | undefined> {
  try {
    const answer = await host.fetchUnix(path, new Request("http://mayfly/healthz"));
    await answer.body?.cancel();
    return answer.headers.get("x-mayfly-version") ?? "";
  } catch (cause) {
    if (codeOf(cause) === "permission_denied") {
      throw new Failure(
        "permission_denied",
        `cannot reach the daemon at "${path}": the socket is its owner's alone, use sudo`,
        { cause },
      );
    }
    // Nobody answers there: the daemon's lock on its root decides whether one may be opened here.
    return undefined;
  }
}

async function reach(host: Host, path: string, warn: ConnectOptions["warn"]): Promise<Connection | undefined> {
  const theirs = await daemonAt(host, path);
  if (theirs === undefined) return undefined;
  if (theirs !== "" && theirs !== version) {
    warn(`the daemon is version ${theirs}, this command ${version}: restart the daemon to use one version`);
  }
  const overSocket: Fetch = (request) => host.fetchUnix(path, request);
  return {
    api: createClient(overSocket),
    fetch: overSocket,
    own: false,
    open: async (target) => opened(await host.connectWebSocket({ url: `http://mayfly${target}`, path })),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function openHere(host: Host, config: Config, openDaemon: OpenDaemon): Promise<Connection> {
  try {
    const daemon = await openDaemon(host, config);
    const fetch: Fetch = (request) => daemon.fetch(request);
    return {
      api: createClient(fetch),
      fetch,
      own: true,
      open: async (target) => opened(await webSocketHere(daemon, new Request(`http://mayfly${target}`))),
      [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
    };
  } catch (cause) {
    throw new Failure(
      codeOf(cause),
      `no daemon answers at "${socketPath(config)}", and none can be opened here: ${messageOf(cause)} ` +
        `(a daemon elsewhere? set ${environmentOf("run")} or --run to its folder)`,
      { cause },
    );
  }
}

/** A WebSocket within this process. */
async function webSocketHere(daemon: DaemonHandle, request: Request): Promise<WebSocketConnection | Response> {
  const [ours, theirs] = webSocketPair();
  let accepted: Promise<void> | undefined;
  const answer = await daemon.fetch(request, (accept) => {
    accepted = accept(theirs);
    accepted.catch(() => theirs.close({ code: 1011 }));
    return new Response(null);
  });
  return accepted === undefined ? answer : ours;
}

async function opened(answer: WebSocketConnection | Response): Promise<WebSocketConnection> {
  if (!(answer instanceof Response)) return answer;
  await succeeded(Promise.resolve(answer));
  throw new Failure("unavailable", `the daemon answered ${answer.status} in place of opening a WebSocket`);
}
