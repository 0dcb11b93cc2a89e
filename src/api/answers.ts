/**
 * The shapes of answers, as JSON. Each is held against the type of what is answered: a field that is missing there, or of
 * another type, does not compile. Answers may have more fields than these.
 */
import type { JSONParsed } from "hono/utils/types";
import * as v from "valibot";
import { scopes } from "../core/access.ts";
import { ContainerInputSchema } from "../core/container.ts";
import { DescriptorSchema } from "../core/descriptor.ts";
import { errorCodes } from "../core/errors.ts";
import { type DeployedFunction, FunctionInputSchema } from "../core/function.ts";
import type { Image } from "../core/image.ts";
import { callbackStatuses } from "../core/callback.ts";
import { type Call, callStatuses } from "../core/call.ts";
import { type Invocation, invocationStatuses } from "../core/invocation.ts";
import type { Namespace } from "../core/metadata.ts";
import type { PluginInfo } from "../core/plugin.ts";
import type { SecretInfo } from "../core/secret_store.ts";
import type { RevisionInfo, Traffic } from "../core/revision.ts";
import type { SnapshotInfo } from "../core/snapshotter.ts";
import type { TaskStats } from "../core/task.ts";
import type { TokenInfo } from "../core/token.ts";
import type { FileDescription } from "../images/copy_out.ts";
import type { FileChange } from "../images/diff.ts";
import type { ImageCheck } from "../images/verdicts.ts";
import type { Recovery } from "../images/recover.ts";
import type { ContentReport, StorageReport } from "../images/storage.ts";
import type { ContainerExit, ContainerInfo } from "../tasks/container_info.ts";
import type { ProcessInfo } from "../tasks/processes.ts";
import type { TaskInfo } from "../tasks/tasks.ts";

/** Lists that JSON has read are anybody's to change. */
type Plain<T> = T extends readonly (infer Item)[] ? Plain<Item>[]
  : T extends object ? { -readonly [Name in keyof T]: Plain<T[Name]> }
  : T;

/** Takes a schema that the JSON of a type fits. */
const jsonOf =
  <T>() =>
  <Schema extends v.GenericSchema>(schema: Plain<JSONParsed<T>> extends v.InferInput<Schema> ? Schema : never) =>
    schema as Schema;

const time = v.pipe(v.string(), v.isoTimestamp());
const count = v.pipe(v.number(), v.integer());
const optionalText = v.optional(v.string());
const optionalNumber = v.optional(v.number());
const labels = v.record(v.string(), v.string());

/** `{ items: [...] }` */
export const itemsOf = <Item extends v.GenericSchema>(item: Item) => v.object({ items: v.array(item) });

const figures = {
  cpuMicros: optionalNumber,
  memoryBytes: optionalNumber,
  memoryPeakBytes: optionalNumber,
  pids: optionalNumber,
  ioReadBytes: optionalNumber,
  ioWriteBytes: optionalNumber,
  networkReceivedBytes: optionalNumber,
  networkSentBytes: optionalNumber,
};
export const StatsAnswer = jsonOf<TaskStats>()(v.object(figures));

/** By what a container is reached. */
const reach = {
  addresses: v.array(v.string()),
  ports: v.array(v.object({
    address: v.string(),
    hostPort: count,
    containerPort: count,
    protocol: v.literal("tcp"),
  })),
};

const container = {
  namespace: v.string(),
  id: v.string(),
  name: optionalText,
  image: optionalText,
  imageDigest: optionalText,
  runtime: v.string(),
  snapshotter: v.string(),
  snapshotKey: optionalText,
  labels,
  createdAt: time,
  status: v.picklist(["created", "running", "paused", "exited"]),
  pid: optionalNumber,
  startedAt: v.optional(time),
  finishedAt: v.optional(time),
  exitCode: optionalNumber,
  oomKilled: v.optional(v.boolean()),
  error: optionalText,
  ...reach,
  settings: v.object({ ...ContainerInputSchema.entries }),
};
export const ContainerAnswer = jsonOf<ContainerInfo>()(v.object(container));
/** With its OCI runtime configuration. */
export const ContainerInspectAnswer = v.object({ ...container, spec: v.record(v.string(), v.unknown()) });
export const ContainerExitAnswer = jsonOf<ContainerExit>()(v.object({
  exitCode: count,
  oomKilled: v.boolean(),
  finishedAt: v.optional(time),
  error: optionalText,
}));
export const ProcessAnswer = jsonOf<ProcessInfo & { execId: string | undefined }>()(v.object({
  pid: count,
  ppid: count,
  containerPid: count,
  uid: count,
  state: v.string(),
  cpuMicros: v.number(),
  memoryBytes: v.number(),
  command: v.string(),
  execId: optionalText,
}));
export const FileChangeAnswer = jsonOf<FileChange>()(v.object({ kind: v.picklist(["A", "C", "D"]), path: v.string() }));
export const FileAnswer = jsonOf<Omit<FileDescription, "modified"> & { modifiedAt: Date }>()(v.object({
  name: v.string(),
  sizeBytes: count,
  mode: count,
  linkTarget: optionalText,
  modifiedAt: time,
}));

export const TaskAnswer = jsonOf<TaskInfo>()(v.object({
  namespace: v.string(),
  id: v.string(),
  function: optionalText,
  image: optionalText,
  labels: v.optional(labels),
  runtime: v.string(),
  status: v.picklist(["created", "running", "paused", "stopped"]),
  pid: optionalNumber,
  createdAt: time,
  startedAt: v.optional(time),
  ...reach,
  stats: v.optional(v.object(figures)),
}));
export const TaskWaitAnswer = v.object({ exitStatus: count, signal: v.optional(count), exitedAt: time });
/** Without `exit` where it was never started. */
export const TaskDeleteAnswer = v.object({
  exit: v.optional(v.object({ code: count, signal: v.optional(count), exitedAt: time })),
});
export const ExecAnswer = v.object({ id: v.string(), pid: count });

const snapshot = {
  snapshotter: v.string(),
  key: v.string(),
  kind: v.picklist(["committed", "active", "view"]),
  parent: optionalText,
  id: count,
  labels,
  createdAt: time,
  updatedAt: time,
};
export const SnapshotAnswer = jsonOf<SnapshotInfo & { snapshotter: string }>()(v.object(snapshot));
export const SnapshotStatAnswer = v.object({ ...snapshot, usage: v.object({ bytes: count, inodes: count }) });

export const ImageAnswer = jsonOf<Image>()(v.object({
  namespace: v.string(),
  name: v.string(),
  target: DescriptorSchema,
  labels,
  createdAt: time,
  updatedAt: time,
}));

/** Values do not come out. */
export const SecretAnswer = jsonOf<SecretInfo>()(v.object({
  namespace: v.string(),
  name: v.string(),
  createdAt: time,
  updatedAt: time,
}));

export const NamespaceAnswer = jsonOf<Namespace>()(v.object({ name: v.string(), labels, createdAt: time }));

export const TrafficAnswer = jsonOf<Traffic>()(v.object({
  split: v.array(v.object({ revision: v.string(), percent: count })),
  tags: v.record(v.string(), v.string()),
  shares: v.optional(v.record(v.string(), v.record(v.string(), count))),
  published: v.optional(v.record(v.string(), v.string())),
  notes: v.optional(v.record(v.string(), v.string())),
  provisioned: v.optional(v.record(v.string(), count)),
}));
const revision = {
  ...FunctionInputSchema.entries,
  namespace: v.string(),
  name: v.string(),
  digest: v.string(),
  revision: count,
  createdAt: time,
  updatedAt: time,
};
export const FunctionAnswer = jsonOf<DeployedFunction>()(v.object({ ...revision, traffic: TrafficAnswer }));
export const RevisionAnswer = jsonOf<RevisionInfo>()(v.object({
  ...revision,
  id: v.string(),
  percent: count,
  answered: v.boolean(),
  tags: v.array(v.string()),
}));

export const InvocationAnswer = jsonOf<Invocation>()(v.object({
  id: v.string(),
  namespace: v.string(),
  function: v.string(),
  revision: count,
  status: v.picklist(invocationStatuses),
  startedAt: time,
  durationMs: optionalNumber,
  exitCode: optionalNumber,
  error: optionalText,
  stderr: optionalText,
  cpuMicros: optionalNumber,
  memoryPeakBytes: optionalNumber,
  requestBytes: count,
  responseBytes: count,
  traceId: optionalText,
  phases: v.array(v.object({ name: v.string(), startMs: v.number(), durationMs: v.number() })),
}));

export const CallAnswer = jsonOf<Call>()(v.object({
  id: v.string(),
  namespace: v.string(),
  function: v.string(),
  status: v.picklist(callStatuses),
  attempts: count,
  createdAt: time,
  dueAt: time,
  finishedAt: v.optional(time),
  error: optionalText,
  invocation: optionalText,
  callback: v.optional(v.object({
    url: v.string(),
    status: v.picklist(callbackStatuses),
    attempts: count,
    error: optionalText,
  })),
}));

/** Where a call that was accepted may be asked for. */
export const AcceptedAnswer = v.object({
  id: v.string(),
  status: v.literal("queued"),
  url: v.string(),
  answer: v.string(),
});

const token = {
  id: v.string(),
  name: v.string(),
  namespace: v.string(),
  scopes: v.array(v.picklist(scopes)),
  rate: optionalText,
  createdAt: time,
  expiresAt: v.optional(time),
};
export const TokenAnswer = jsonOf<TokenInfo>()(v.object(token));
/** With the token itself, which is told only now. */
export const NewTokenAnswer = v.object({ ...token, token: v.string() });

export const PluginAnswer = jsonOf<PluginInfo>()(v.object({
  kind: v.string(),
  id: v.string(),
  source: v.string(),
  state: v.string(),
  reason: optionalText,
  requires: v.array(v.string()),
}));
export const InfoAnswer = v.object({
  version: v.string(),
  host: v.object({ name: v.string(), version: v.string(), arch: v.string() }),
  pid: count,
  root: v.string(),
  run: v.string(),
  runtime: v.string(),
  snapshotter: v.string(),
  startedAt: time,
});
export const HealthAnswer = v.object({ status: v.literal("ok") });

/** @see https://www.rfc-editor.org/rfc/rfc9457 */
export const ProblemAnswer = v.looseObject({
  type: v.string(),
  title: v.string(),
  status: count,
  detail: v.string(),
  code: v.picklist(errorCodes),
});

/** What the description refers to by name. */
export const namedAnswers = {
  Namespace: NamespaceAnswer,
  Container: ContainerAnswer,
  ContainerInspect: ContainerInspectAnswer,
  ContainerExit: ContainerExitAnswer,
  Process: ProcessAnswer,
  Exec: ExecAnswer,
  FileChange: FileChangeAnswer,
  File: FileAnswer,
  Task: TaskAnswer,
  TaskWait: TaskWaitAnswer,
  TaskDelete: TaskDeleteAnswer,
  Stats: StatsAnswer,
  Snapshot: SnapshotAnswer,
  SnapshotStat: SnapshotStatAnswer,
  Image: ImageAnswer,
  Function: FunctionAnswer,
  Revision: RevisionAnswer,
  Traffic: TrafficAnswer,
  Invocation: InvocationAnswer,
  Call: CallAnswer,
  Secret: SecretAnswer,
  Token: TokenAnswer,
  NewToken: NewTokenAnswer,
  Plugin: PluginAnswer,
  Info: InfoAnswer,
  Problem: ProblemAnswer,
} as const;

export const GarbageAnswer = v.object({
  blobs: count,
  bytes: count,
  snapshots: v.array(v.string()),
  ingests: v.array(v.string()),
  leases: count,
  problems: v.array(v.object({ what: v.string(), reason: v.string() })),
});
export const StorageAnswer = jsonOf<StorageReport>()(v.object({
  root: v.string(),
  totalBytes: count,
  parts: v.array(v.object({
    kind: v.picklist(["blobs", "ingests", "snapshots", "containers", "metadata", "unknown"]),
    path: v.string(),
    count,
    bytes: count,
    reclaimableBytes: count,
  })),
}));
export const RecoveryAnswer = jsonOf<Recovery>()(v.object({
  images: v.array(v.object({ name: v.string(), digest: v.string(), own: v.boolean(), missing: count })),
  known: count,
  conflict: optionalText,
}));
export const ImageCheckAnswer = jsonOf<ImageCheck>()(v.object({
  name: v.string(),
  digest: v.string(),
  ok: v.boolean(),
  blobs: v.array(v.object({
    digest: v.string(),
    kind: v.picklist(["index", "manifest", "config", "layer"]),
    size: count,
    state: v.picklist(["whole", "corrupt", "missing", "wrong"]),
    reason: optionalText,
  })),
  elsewhere: count,
  verdicts: v.array(v.object({
    state: v.picklist(["accepted", "refused", "unknown", "unasked"]),
    reason: v.string(),
  })),
}));
export const ContentAnswer = jsonOf<ContentReport>()(v.object({
  blobs: count,
  bytes: count,
  problems: v.array(v.object({
    digest: v.string(),
    problem: v.picklist(["corrupt", "missing"]),
    images: v.array(v.string()),
    repaired: v.optional(v.boolean()),
    reason: optionalText,
  })),
}));
