import * as v from "valibot";
import { parse } from "./parse.ts";
import type { Spec } from "./spec.ts";

const noNul = v.check((text: string) => !text.includes("\0"), "text without NUL bytes");

/** A name in the DNS: labels of letters, digits and dashes, with dots between them. */
export const HostnameSchema = v.pipe(
  v.string(),
  v.maxLength(63),
  v.regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*$/,
    "a host name of 63 characters at most",
  ),
);

/** How a container is connected, as its creator says it. */
export const networkEntries = {
  /** A network plugin's id, and behind a colon what that is to know: `none`, `host`, `bridge`, `cni:NAME`. Default `none`. */
  network: v.optional(
    v.pipe(
      v.string(),
      v.maxLength(128),
      noNul,
      v.regex(/^[a-z0-9][a-z0-9._-]*(?::[A-Za-z0-9][A-Za-z0-9._-]*)?$/, "none, host, bridge, or cni:NAME"),
    ),
    "none",
  ),
  /** Whether it reaches what is beyond the machine, on a network that asks for it. Default false. */
  egress: v.optional(v.boolean(), false),
  /** Who looks names up for it, by IPv4 address. Default: the machine's own, but for those on its loopback. */
  dns: v.optional(v.pipe(v.array(v.pipe(v.string(), v.ipv4("an IPv4 address"))), v.maxLength(8)), []),
  /** More lines of its /etc/hosts. */
  extraHosts: v.optional(
    v.pipe(
      v.array(v.strictObject({ name: HostnameSchema, address: v.pipe(v.string(), v.ip("an IP address")) })),
      v.maxLength(256),
    ),
    [],
  ),
} as const;

const SettingsSchema = v.object(networkEntries);
/** As it is kept, with every default filled in. */
export type NetworkSettings = v.InferOutput<typeof SettingsSchema>;

/**
 * A network plugin says how a container is connected: `apply` when the container is described, once for all tasks that are
 * made of that description, `connect` for each task.
 */
export interface Network {
  /** The plugin's id: `none`, `host`, … */
  readonly id: string;
  /**
   * Returns the spec with this network's namespace and files in it. It makes nothing. Where each task has to be connected, it
   * leaves that in the spec (`withConnection`), which may be stored in between.
   * @throws invalid_argument for settings that it cannot meet; failed_precondition for what the machine lacks.
   */
  apply(spec: Spec, settings?: NetworkSettings): Spec;
  /**
   * Connects a task that is about to be made of a spec of `apply`. There are no calls of it but for such specs.
   *
   * The caller disposes of what it gets when nothing of the task is left, on every path. A process that is killed never
   * does: what is left then is removed by `recover`.
   */
  connect?(options: ConnectOptions): Promise<Attachment>;
  /**
   * Removes what an earlier process of the same root folder has left, when no task is there any more, and before `connect`.
   * @returns names of what it removed.
   */
  recover?(): Promise<readonly string[]>;
}

export interface ConnectOptions {
  /** The task's id, unique on the machine at that time. */
  readonly id: string;
  /** The tenant whose task it is. */
  readonly namespace: string;
  readonly spec: Spec;
  readonly settings: NetworkSettings;
}

/** A task's end of a network. */
export interface Attachment extends AsyncDisposable {
  /** What the task is to be made of: the spec with files of its own in it. */
  readonly spec: Spec;
  /**
   * A descriptor of the network namespace that takes the place of the new one which the spec asks for. It stays open until
   * this is disposed of.
   */
  readonly networkNamespace: number;
  /** Its addresses there, without the length of their prefixes. */
  readonly addresses: readonly string[];
}

/** In a spec's annotations: how each task made of it is to be connected. */
const annotation = "mayfly/network";

/** Leaves in a spec how its tasks are to be connected. */
export function withConnection(spec: Spec, settings: NetworkSettings): Spec {
  const { network, egress, dns, extraHosts } = settings;
  const text = JSON.stringify({ network, egress, dns, extraHosts });
  return { ...spec, annotations: { ...spec.annotations, [annotation]: text } };
}

/** How tasks made of a spec are to be connected; undefined where nothing is to be done. @throws invalid_argument. */
export function connectionOf(spec: Spec): NetworkSettings | undefined {
  const text = spec.annotations?.[annotation];
  return text === undefined
    ? undefined
    : parse(SettingsSchema, JSON.parse(text), `cannot use annotation ${annotation}`);
}

/** The network plugin that a setting names: `cni` of `cni:mynet`. */
export function networkPlugin(network: string): string {
  return network.split(":", 1)[0] ?? network;
}
