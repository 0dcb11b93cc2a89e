import type * as v from "valibot";
import type { Host } from "./host.ts";
import type { Logger } from "./logger.ts";

/** The contract version of this program. A plugin states the one it was built for. */
export const pluginContract = 1;

/** What a plugin can be; each kind has its contract in this folder. */
export const pluginKinds = [
  "content",
  "metadata",
  "queue",
  "snapshotter",
  "runtime",
  "distribution",
  "network",
  "monitor",
] as const;
export type PluginKind = (typeof pluginKinds)[number];

/**
 * A plugin is a value. The list in `src/plugins.ts` names those that are built in, the option `pluginModules` the modules
 * that export more of them; `create` is called in the order of `requires`, once, at start.
 *
 * A plugin from a module is a guest: what it throws at any time is reported with its name and ends nothing but the call. In
 * a call it is to fail with a `code` of `errorCodes` where the contract has one for what happened; anything else is taken
 * for a defect, and the plugin's state is `failed` from then on. Its instance gets calls all the same, so that what it
 * holds can be given back.
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
  /** The daemon's log; each line names the plugin. */
  readonly log: Logger;
  /** The instance of a required plugin. @throws failed_precondition when it is not running. */
  get<T>(kind: PluginKind, id?: string): T;
}

/** `unavailable`: its probe says no; `failed`: it threw where it may not; `skipped`: what it requires does not run. */
export type PluginState = "running" | "unavailable" | "failed" | "skipped";

/** What `GET /v1/plugins` shows. */
export interface PluginInfo {
  /** `module`: one that could not be loaded, so that nobody knows what is in it; the id is its name then. */
  readonly kind: PluginKind | "module";
  readonly id: string;
  /** The module that it came from, as the configuration names it; `built-in` for one of this program's. */
  readonly source: string;
  readonly state: PluginState;
  /** Why it does not run, or what it has to say. */
  readonly reason: string | undefined;
  readonly requires: readonly string[];
}
