import type { Container, ContainerRunState, ContainerSettings, ListedContainer } from "../core/container.ts";
import { codeOf, Failure } from "../core/errors.ts";
import type { Task } from "../core/task.ts";
import type { Reach } from "./tasks.ts";

export type ContainerStatus = "created" | "running" | "paused" | "exited";

/** What is shown of a container. */
export interface ContainerInfo
  extends Omit<Container, "spec" | "settings" | "state">, Partial<ContainerRunState>, Reach {
  readonly status: ContainerStatus;
  /** Of its init, on this machine. */
  readonly pid: number | undefined;
  readonly settings: ContainerSettings;
}

/** How a container ended. */
export interface ContainerExit {
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly finishedAt: Date | undefined;
  readonly error: string | undefined;
}

/** A container that lives on has settings; one that is only run is none of these. */
export type Kept<C extends ListedContainer = Container> = C & {
  readonly settings: ContainerSettings;
  readonly snapshotKey: string;
};

/** Where a container ended that nobody saw end. As containerd has it. */
export const unknownExitCode = 255;

export function isKept<C extends ListedContainer>(container: C): container is Kept<C> {
  return container.settings !== undefined && container.snapshotKey !== undefined;
}

/** Names a container among all. */
export function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

/** @param live its running side. */
export function describeContainer(
  kept: Kept<ListedContainer>,
  live: Reach & { readonly task: Task } | undefined,
): ContainerInfo {
  const { task, addresses = [], ports = [] } = live ?? {};
  // Whole containers come here too; their configuration is shown only to who asks for it.
  const { state, spec: _spec, ...container }: Kept<ListedContainer> & { readonly spec?: unknown } = kept;
  const status = task === undefined
    ? state === undefined ? "created" : "exited"
    : task.status === "paused"
    ? "paused"
    : "running";
  return { ...container, ...state, status, pid: task?.pid, addresses, ports };
}

/** What events tell of a container. */
export function told({ id, name, image, labels }: ListedContainer) {
  return { containerId: id, name, image, labels };
}

export function exitOf(
  { exitCode = unknownExitCode, oomKilled = false, finishedAt, error }: ContainerRunState,
): ContainerExit {
  return { exitCode, oomKilled, finishedAt, error };
}

/** @param state as the message has it; its first word is told apart. */
export function wrongState(action: string, { id, name }: Container, state: string): Failure {
  const [status] = state.split(/[:,]/);
  return new Failure(
    "failed_precondition",
    `cannot ${action} container ${JSON.stringify(name ?? id)}: it is ${state}`,
    {
      details: { id, status },
    },
  );
}

/** Waits for a removal of what may be gone. */
export async function ignoreMissing(removal: Promise<void>): Promise<void> {
  try {
    await removal;
  } catch (error) {
    if (codeOf(error) !== "not_found") throw error;
  }
}
