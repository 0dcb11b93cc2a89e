import * as v from "valibot";
import { FunctionInputSchema } from "./function.ts";
import { PortsSchema } from "./published_port.ts";

const {
  image,
  command,
  args,
  env,
  user,
  workdir,
  memoryBytes,
  cpus,
  pids,
  readonlyRootfs,
  mounts,
  network,
  egress,
  dns,
  extraHosts,
  hostname,
  userns,
  restore,
  runtime,
  snapshotter,
} = FunctionInputSchema.entries;

/** Names of containers, as Docker has them. */
const ContainerNameSchema = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/,
    "1 to 128 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
  ),
);

export const LabelsSchema = v.pipe(
  v.record(v.pipe(v.string(), v.minLength(1), v.maxLength(256)), v.pipe(v.string(), v.maxLength(4096))),
  v.check((labels) => Object.keys(labels).length <= 256, "at most 256 labels"),
);

/** A signal, by name (with or without SIG) or number. */
const SignalSchema = v.union([
  v.pipe(v.string(), v.regex(/^[A-Za-z0-9+-]{1,16}$/, "a signal's name or number")),
  v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(64)),
]);

/** What may be changed of a container's limits; what is not named stays. */
export const ContainerResourcesSchema = v.strictObject({
  memoryBytes: v.optional(memoryBytes.wrapped),
  cpus: v.optional(cpus.wrapped),
  pids: v.optional(pids.wrapped),
});
export type ContainerResources = v.InferOutput<typeof ContainerResourcesSchema>;

/** What a caller says of a container that lives on. Limits that are not named are none, as with Docker. */
export const ContainerInputSchema = v.strictObject({
  image,
  command,
  args,
  env,
  user,
  workdir,
  ...ContainerResourcesSchema.entries,
  readonlyRootfs,
  mounts,
  network,
  egress,
  dns,
  extraHosts,
  hostname,
  userns,
  /** As a function's; for the first start alone. */
  restore,
  runtime,
  snapshotter,
  /** Ports of the machine that lead to its own, as long as it runs. */
  ports: v.optional(PortsSchema, []),
  /** Unique in its namespace. Default: it has its id alone. */
  name: v.optional(ContainerNameSchema),
  /** Its standard streams are a terminal. */
  tty: v.optional(v.boolean(), false),
  /** Its standard input stays open, so that who attaches may write to it. Default: /dev/null. */
  stdinOpen: v.optional(v.boolean(), false),
  /** What `stop` sends first. Default: the image's, else SIGTERM. */
  stopSignal: v.optional(SignalSchema),
  /** How long `stop` waits before it kills. Default 10 s. */
  stopGraceMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(24 * 3600_000)), 10_000),
  /** How much of its output is kept: the newest of it. Default 16 MiB. */
  logBytes: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1024 * 1024), v.maxValue(2 ** 32)), 2 ** 24),
  /** Whether it is removed when it has ended, however that came. */
  autoRemove: v.optional(v.boolean(), false),
  labels: v.optional(LabelsSchema, {}),
});
/** As it is kept, with every default filled in. */
export type ContainerSettings = v.InferOutput<typeof ContainerInputSchema>;

/** What is known of a container's last run. Absent before the first start. */
export interface ContainerRunState {
  readonly startedAt: Date;
  /** Absent while it runs. */
  readonly finishedAt?: Date | undefined;
  /** 255 where nobody saw it end. */
  readonly exitCode?: number | undefined;
  readonly oomKilled?: boolean | undefined;
  /** Why it could not be started, or was given up. */
  readonly error?: string | undefined;
}

/** Metadata of a container: what a task can be made of. Of its tasks, it knows how the last one went. */
export interface Container {
  readonly namespace: string;
  readonly id: string;
  readonly image: string | undefined;
  readonly runtime: string;
  readonly snapshotter: string;
  readonly snapshotKey: string | undefined;
  /** The OCI runtime configuration. */
  readonly spec: Readonly<Record<string, unknown>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly name: string | undefined;
  /** The manifest that `image` named when it was created. */
  readonly imageDigest: string | undefined;
  /** Absent for a container that is only run. */
  readonly settings: ContainerSettings | undefined;
  readonly state: ContainerRunState | undefined;
}

/** A container as lists have it: the configuration is the most of it, and seldom asked for. */
export type ListedContainer = Omit<Container, "spec">;

export type NewContainer =
  & Omit<Container, "createdAt" | "name" | "imageDigest" | "settings" | "state">
  & Partial<Pick<Container, "name" | "imageDigest" | "settings">>;

export type ContainerChanges = Partial<Pick<Container, "spec" | "labels" | "settings" | "state">>;

/** Where containers are recorded. */
export interface ContainerStore {
  get(namespace: string, id: string): Promise<Container | undefined>;
  /** By id, by name, or by an id's beginning. @returns all that it may mean, exact ones alone where there are any. */
  find(namespace: string, reference: string): Promise<readonly Container[]>;
  /** @param namespace default all. */
  list(namespace?: string): Promise<readonly ListedContainer[]>;
  /** @throws already_exists for an id or a name in use. */
  create(container: NewContainer): Promise<Container>;
  /** @throws not_found. */
  update(namespace: string, id: string, changes: ContainerChanges): Promise<Container>;
  /** @returns whether it was there. */
  delete(namespace: string, id: string): Promise<boolean>;
}
