import * as v from "valibot";
import type { ContentStore } from "./content.ts";
import type { Distribution } from "./distribution.ts";
import { Failure, messageOf } from "./errors.ts";
import type { Metadata } from "./metadata.ts";
import type { Monitor } from "./monitor.ts";
import type { Network } from "./network.ts";
import { parse } from "./parse.ts";
import { type Availability, type Plugin, type PluginKind, pluginKinds } from "./plugin.ts";
import type { Queue } from "./queue.ts";
import type { Runtime } from "./runtime.ts";
import type { Snapshotter } from "./snapshotter.ts";

/** What a plugin of each kind makes. */
interface Instances {
  readonly content: ContentStore;
  readonly metadata: Metadata;
  readonly queue: Queue;
  readonly snapshotter: Snapshotter;
  readonly runtime: Runtime;
  readonly distribution: Distribution;
  readonly network: Network;
  readonly monitor: Monitor;
}

/** The calls that every instance of a kind has to have. */
const calls: { readonly [Kind in PluginKind]: readonly (keyof Instances[Kind])[] } = {
  content: ["info", "read", "bytes", "writer", "list", "ingests", "abort", "delete"],
  metadata: ["snapshots", "close"],
  queue: ["publish", "lines", "pull", "working", "ack", "nak", "purge", "subscribe"],
  snapshotter: [
    "stat",
    "update",
    "mounts",
    "prepare",
    "view",
    "folder",
    "commit",
    "remove",
    "usage",
    "walk",
    "cleanup",
  ],
  runtime: ["create", "tasks", "load", "delete", "events", "recover"],
  distribution: ["resolve", "fetch", "pushBlob", "pushManifest"],
  network: ["apply"],
  monitor: ["span", "invocation", "gauge", "prometheus", "shutdown"],
};

/** The kinds whose instances say which plugin they are of. */
const named: ReadonlySet<PluginKind> = new Set(["snapshotter", "runtime", "network"]);

const id = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/, "1 to 64 of a-z, 0-9, dot, underscore and dash"),
);
const callable = <Call>() => v.custom<Call>((value) => typeof value === "function", "a function");

const PluginShape = v.object({
  kind: v.picklist(pluginKinds, `one of ${pluginKinds.join(", ")}`),
  id,
  contract: v.pipe(v.number(), v.safeInteger()),
  requires: v.optional(v.array(v.string())),
  config: v.optional(v.custom<v.GenericSchema>(isSchema, "a valibot schema")),
  probe: v.optional(callable<NonNullable<Plugin["probe"]>>()),
  create: callable<Plugin["create"]>(),
});

function isSchema(value: unknown): boolean {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "schema" && "~run" in value;
}

/** Takes a guest's value for a plugin. @throws invalid_argument naming the first field that is wrong. */
export function parsePlugin(value: unknown, action: string): Plugin {
  const { requires, config, probe, ...plugin } = parse(PluginShape, value, action);
  return {
    ...plugin,
    // Methods of a class want their object.
    create: (context) => plugin.create.call(value, context),
    ...(requires === undefined ? {} : { requires }),
    ...(config === undefined ? {} : { config }),
    ...(probe === undefined ? {} : { probe: (context) => probe.call(value, context) }),
  };
}

const AvailabilityShape = v.variant("available", [
  v.object({ available: v.literal(true), note: v.optional(v.string()) }),
  v.object({ available: v.literal(false), reason: v.string() }),
]);

/** Takes what a guest's `probe` has said. @throws invalid_argument. */
export function parseAvailability(value: unknown): Availability {
  const { available, ...says } = parse(AvailabilityShape, value, "cannot use what its probe() returned");
  if (available && "note" in says && says.note !== undefined) return { available, note: says.note };
  return available ? { available } : { available, reason: "reason" in says ? says.reason : "" };
}

/** Takes what a guest's `create` has made for an instance of its kind. @throws invalid_argument naming what is missing. */
export function parseInstance({ kind, id }: Plugin, value: unknown): object {
  const action = `cannot use what its create() returned for a ${kind}`;
  const wrong = (what: string) => new Failure("invalid_argument", `${action}: ${what}`);
  if (typeof value !== "object" || value === null) throw wrong(`it is ${value === null ? "null" : typeof value}`);
  try {
    const missing = calls[kind].filter((name) => typeof Reflect.get(value, name) !== "function");
    if (missing.length > 0) throw wrong(`it has no ${missing.map((name) => `${String(name)}()`).join(", ")}`);
    const own: unknown = named.has(kind) ? Reflect.get(value, "id") : id;
    if (own !== id) throw wrong(`its id is ${JSON.stringify(own)}, want the plugin's, ${JSON.stringify(id)}`);
  } catch (error) {
    throw error instanceof Failure ? error : wrong(messageOf(error));
  }
  return value;
}
