import type { ContainerStore } from "../core/container.ts";
import type { ImageConfig } from "../core/descriptor.ts";
import { codeOf, type ErrorCode, Failure } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { IdRange } from "../core/id_range.ts";
import type { Network, NetworkSettings } from "../core/network.ts";
import type { CreateTask, Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Spec } from "../core/spec.ts";
import type { Exit, Task } from "../core/task.ts";
import type { Accounts } from "./accounts.ts";
import { prepareRootfs, type RootfsOptions } from "./container_rootfs.ts";
import { Deadline } from "./deadline.ts";
import type { Volumes } from "./ingredients.ts";
import { killSoon } from "./kill_soon.ts";
import { type Means, settingsWithin, specWithin } from "./means.ts";
import { generateSpec, type SpecSettings } from "./spec.ts";
import type { NewTask } from "./tasks.ts";

/** What the keys of such containers' snapshots begin with. */
export const containerSnapshotPrefix = "container/";

/** Marks containers that are removed when their task has ended. */
export const ephemeralLabel = "mayfly/ephemeral";

export interface RunOptions {
  readonly namespace: string;
  /** Default: a new one. @see CreateTask.id */
  readonly id?: string;
  /** The image's name, as it is shown. */
  readonly image: string;
  readonly config: ImageConfig;
  /** The image's top layer, committed in the snapshotter. */
  readonly chain: string;
  readonly runtime: Runtime;
  readonly snapshotter: Snapshotter;
  readonly network: Network;
  readonly settings: SpecSettings & Partial<Pick<FunctionSettings, "scratchBytes" | "timeoutMs"> & NetworkSettings>;
  /** Default: what it writes is in memory, where the snapshotter can do that. */
  readonly keep?: RootfsOptions["keep"];
  /** The image's account files. */
  readonly accounts?: Accounts;
  readonly ids?: IdRange | undefined;
  /** The images that are mounted, from here on its own: given back behind its end. */
  readonly volumes?: Volumes;
  readonly stdio?: CreateTask["stdio"];
  readonly checkpoint?: CreateTask["checkpoint"] | undefined;
  /** Kills the container. */
  readonly signal?: AbortSignal;
  /** Called before the task starts, to take its streams: what nobody has taken when it has ended is dropped. */
  readonly attach?: (task: Task) => void;
}

/** A container that runs. Disposing of it kills what still runs and waits until nothing is left. */
export interface ContainerRun extends AsyncDisposable {
  readonly id: string;
  readonly task: Task;
  /**
   * Resolves when the container has ended and nothing is left of it.
   * @throws deadline_exceeded after `timeoutMs`; aborted by the signal; what removing it throws.
   */
  readonly done: Promise<Exit>;
}

interface Parts {
  readonly containers: ContainerStore;
}

/** Codes that tell how the container ended; others tell what could not be removed. */
const endings: ReadonlySet<ErrorCode> = new Set(["deadline_exceeded", "aborted"]);

/** How a container is connected, with the defaults of what is not said. */
function networkSettingsOf({ network, settings }: Pick<RunOptions, "network" | "settings">): NetworkSettings {
  return { network: network.id, egress: false, dns: [], extraHosts: [], ...settings };
}

/** A new container's id: 16 hex digits, random. */
export function newContainerId(): string {
  return crypto.randomUUID().replaceAll("-", "").slice(-16);
}

/** Makes and starts a container. What is taken is given back in reverse: when it has ended, or when a step fails. */
export async function startContainer(
  options: RunOptions,
  { containers }: Parts,
  { means, create, check }: {
    readonly means: Means;
    create(task: NewTask): Promise<Task>;
    check(spec: Spec): Promise<void>;
  },
): Promise<ContainerRun> {
  const { id = newContainerId(), namespace, image, runtime, snapshotter, settings, stdio, checkpoint, signal } =
    options;
  await using undo = new AsyncDisposableStack();
  undo.use(options.volumes);
  signal?.throwIfAborted();
  const volumes = options.volumes?.paths;
  const own = { ...options, settings: settingsWithin(settings, means), id, image: options.config, volumes };
  const spec = specWithin(options.network.apply(generateSpec(own), networkSettingsOf(options)), means);
  await check(spec);

  const snapshotKey = `${containerSnapshotPrefix}${namespace}/${id}`;
  await containers.create({
    namespace,
    id,
    image,
    runtime: runtime.id,
    snapshotter: snapshotter.id,
    snapshotKey,
    spec,
    labels: { [ephemeralLabel]: "true" },
  });
  undo.defer(async () => {
    await containers.delete(namespace, id);
  });
  const rootfs = await prepareRootfs(snapshotter, snapshotKey, options.chain, {
    keep: options.keep,
    scratchBytes: settings.scratchBytes,
  });
  undo.defer(() => snapshotter.remove(snapshotKey));
  const task = await create({
    id,
    namespace,
    image,
    runtime,
    spec,
    rootfs,
    lazy: true,
    ...(stdio && { stdio }),
    ...(checkpoint && { checkpoint }),
  });
  undo.defer(async () => {
    await task.delete();
  });
  const onAbort = () => {
    if (task.status !== "created") killSoon(task);
  };
  signal?.addEventListener("abort", onAbort);
  undo.defer(() => signal?.removeEventListener("abort", onAbort));
  options.attach?.(task);
  await task.start();
  if (signal?.aborted) onAbort();

  const done = finish(task, undo.move(), settings.timeoutMs, signal);
  // Who disposes of the run need not look at how it ended.
  done.catch(() => {});
  return {
    id,
    task,
    done,
    async [Symbol.asyncDispose]() {
      killSoon(task);
      await done.catch((error) => {
        if (!endings.has(codeOf(error))) throw error;
      });
    },
  };
}

async function finish(
  task: Task,
  cleanup: AsyncDisposableStack,
  timeoutMs: number | undefined,
  signal: AbortSignal | undefined,
): Promise<Exit> {
  await using _cleanup = cleanup;
  using deadline = timeoutMs === undefined ? undefined : new Deadline(task, timeoutMs);
  const exit = await task.wait();
  if (deadline?.passed) {
    throw new Failure(
      "deadline_exceeded",
      `container "${task.id}" did not end within ${timeoutMs} ms, and was killed`,
      {
        details: { timeoutMs },
      },
    );
  }
  if (signal?.aborted) {
    throw new Failure("aborted", `container "${task.id}" was killed: the caller went away`, { cause: signal.reason });
  }
  return exit;
}
