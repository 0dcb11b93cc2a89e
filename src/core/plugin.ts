import type * as v from "valibot";
import type { Host } from "./host.ts";

/** The contract version of this program. A plugin states the one it was built for. */
export const pluginContract = 1;

export const pluginKinds = [
  "content",
  "metadata",
  "snapshotter",
  "runtime",
  "distribution",
  "network",
  "monitor",
  "service",
] as const;
export type PluginKind = (typeof pluginKinds)[number];

/**
 * A plugin is a value. The list in `src/plugins.ts` names those that are built in; `create` is called in the order of
 * `requires`, once, at start.
 */
export interface Plugin<Instance = unknown, Config extends v.GenericSchema = v.GenericSchema> {
  readonly kind: PluginKind;
  readonly id: string;
  /** The contract version it was built for. */
  readonly contract: number;
  /** What has to exist first: a kind (`content`), or one plugin of it (`snapshotter/overlay`). */
  readonly requires?: readonly string[];
  /** The shape of its part of the configuration: `plugins["<kind>/<id>"]`. */
  readonly config?: Config;
  /** Says whether it can work on this machine; where not, why, in a sentence that a user can act on. */
  probe?(context: ProbeContext): Promise<Availability> | Availability;
  create(context: PluginContext<v.InferOutput<Config>>): Promise<Instance> | Instance;
}

export type Availability = { readonly available: true; readonly note?: string } | {
  readonly available: false;
  readonly reason: string;
};

export interface ProbeContext {
  readonly host: Host;
  /** The daemon's persistent folder, default /var/lib/mayfly. */
  readonly root: string;
  /** The daemon's folder for runtime state, default /run/mayfly. */
  readonly run: string;
}

export interface PluginContext<Config = unknown> extends ProbeContext {
  readonly config: Config;
  /** The instance of a required plugin. @throws failed_precondition when it is not running. */
  get<T>(kind: PluginKind, id?: string): T;
}

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
