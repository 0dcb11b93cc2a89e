import type { Tokens } from "../access/tokens.ts";
import type { Authenticate } from "../core/access.ts";
import type { Events } from "../core/event.ts";
import type { Host } from "../core/host.ts";
import type { NamespaceStore } from "../core/metadata.ts";
import type { Monitor } from "../core/monitor.ts";
import type { PluginInfo } from "../core/plugin.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Calls } from "../functions/calls.ts";
import type { Functions } from "../functions/functions.ts";
import type { Secrets } from "../functions/secrets.ts";
import type { Images } from "../images/images.ts";
import type { Storage } from "../images/storage.ts";
import type { AccessEntry } from "./access_log.ts";
import type { Containers } from "../tasks/containers.ts";
import type { Tasks } from "../tasks/tasks.ts";

/** What the API gives access to. */
export interface ApiParts {
  readonly functions: Functions;
  readonly calls: Calls;
  readonly secrets: Secrets;
  readonly images: Images;
  readonly tasks: Tasks;
  readonly containers: Containers;
  readonly events: Events;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly namespaces: NamespaceStore;
  readonly tokens: Tokens;
  /** Tells whose a bearer token is. */
  readonly authenticate: Authenticate;
  readonly storage: Storage;
  readonly monitor: Monitor;
  readonly host: Pick<Host, "name" | "version" | "arch" | "pid">;
  /** Takes a line for each request; undefined where no log is kept. */
  readonly accessLog: ((entry: AccessEntry) => void) | undefined;
  /** Every plugin with its state. */
  readonly plugins: () => readonly PluginInfo[];
  /** What `GET /v1/info` shows of the configuration. */
  readonly info: {
    readonly root: string;
    readonly run: string;
    readonly runtime: string;
    readonly snapshotter: string;
    readonly startedAt: Date;
  };
  /** Aborts when the daemon closes: answers without an end of their own end then. */
  readonly closing: AbortSignal;
  /** Told of errors that are no caller's fault, so that they are logged. */
  readonly onError: (error: unknown, what: string) => void;
}
