import type * as v from "valibot";
import type { Host } from "./host.ts";

/** The contract version of this program. A plugin states the one it was built for. */
export const pluginContract = 1;

/** What a plugin can be; each kind has its contract in this folder. */
export type PluginKind = "content" | "metadata" | "snapshotter" | "runtime" | "distribution" | "network" | "monitor";

/**
 * A plugin is a value. The list in `src/plugins.ts` names those that are built in; `create` is called in the order of
 * `requires`, once, at start.
 */
export interface Plugin<Instance = unknown, Config extends v.GenericSchema = v.GenericSchema> {
  readonly kind: PluginKind;
  readonly id: string;
  /** The contract version it was built for: a number that is written out, so that a newer program can tell. */
  readonly contract: number;
  /** What has to exist first: a kind (`content`), or one plugin of it (`snapshotter/overlay`). */
  readonly requires?: readonly string[];
  /** The shape of its part of the configuration: `plugins["<kind>/<id>"]`. */
  readonly config?: Config;
  /** Says whether it can work on this machine; where not, why, in a sentence that a user can act on. */
  probe?(context: ProbeContext): Promise<Availability> | Availability;
  /** Makes the instance. One that is disposable is disposed of at the end, in the reverse order of creation. */
  create(context: PluginContext<v.InferOutput<Config>>): Promise<Instance> | Instance;
}

/** What `probe` says. A note is shown beside the plugin. */
export type Availability = { readonly available: true; readonly note?: string } | {
  readonly available: false;
  readonly reason: string;
};

/** What is known before any plugin exists. */
export interface ProbeContext {
  readonly host: Host;
  /** The daemon's persistent folder, default /var/lib/mayfly. */
  readonly root: string;
  /** The daemon's folder for runtime state, default /run/mayfly. */
  readonly run: string;
}

/** What `create` works with. */
export interface PluginContext<Config = unknown> extends ProbeContext {
  readonly config: Config;
  /** The instance of a required plugin. @throws failed_precondition when it is not running. */
  get<T>(kind: PluginKind, id?: string): T;
}

/** `unavailable`: its probe says no; `failed`: its probe or `create` threw; `skipped`: what it requires does not run. */
export type PluginState = "running" | "unavailable" | "failed" | "skipped";

/** What `GET /v1/plugins` shows. */
export interface PluginInfo {
  readonly kind: PluginKind;
  readonly id: string;
  readonly state: PluginState;
  /** Why it does not run, or what it has to say. */
  readonly reason: string | undefined;
  readonly requires: readonly string[];
}
