import { join } from "node:path";
import type { ContainerStore, ListedContainer } from "../core/container.ts";
import type { Events } from "../core/event.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { ignoreMissing, isKept, type Kept, keyOf, told, unknownExitCode } from "./container_info.ts";
import { logFolders, removeLog } from "./log_segments.ts";

interface Parts {
  readonly store: ContainerStore;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly events: Events;
  /** Where the logs are. */
  readonly folder: string;
}

/**
 * Takes up what an earlier process left of containers that live on: what ran then has ended, and what was half made or half
 * removed goes.
 * @param options.keepAll nothing is removed: database and folder may not belong together.
 * @returns `<namespace>/<id>` of those that had been running.
 */
export async function recoverContainers(
  parts: Parts,
  options: { readonly keepAll?: boolean },
): Promise<readonly string[]> {
  const { store, snapshotters, events, folder } = parts;
  const kept = (await store.list()).filter(isKept);
  const here = new Map<string, ReadonlySet<string>>();
  for (const [id, snapshotter] of snapshotters) {
    here.set(id, new Set((await snapshotter.walk()).map(({ key }) => key)));
  }
  const ended: string[] = [];
  const folders = new Set<string>();
  for (const container of kept) {
    const { namespace, id, state, snapshotter, snapshotKey } = container;
    // Its creation was broken off, or its removal. One that has run is somebody's, whatever happened to its files.
    const half = state === undefined && here.get(snapshotter)?.has(snapshotKey) === false;
    if (half && options.keepAll !== true) {
      await store.delete(namespace, id);
      continue;
    }
    const gone = container.settings.autoRemove && state !== undefined && options.keepAll !== true;
    if (!gone) folders.add(keyOf(namespace, id));
    if (gone && state.finishedAt !== undefined) await forget(parts, container);
    if (state === undefined || state.finishedAt !== undefined) continue;
    const finishedAt = new Date();
    const error = "the daemon ended while it ran: how it ended is not known";
    await store.update(namespace, id, { state: { ...state, finishedAt, exitCode: unknownExitCode, error } });
    events.publish("/tasks/exit", namespace, {
      ...told(container),
      exitStatus: unknownExitCode,
      exitedAt: finishedAt,
    });
    ended.push(keyOf(namespace, id));
    if (gone) await forget(parts, container);
  }
  if (options.keepAll === true) return ended;
  for (const key of logFolders(folder)) if (!folders.has(key)) removeLog(join(folder, key));
  return ended;
}

/** Removes a container that was to be removed at its end; its log goes with those that nobody has. */
async function forget({ store, snapshotters, events }: Parts, container: Kept<ListedContainer>): Promise<void> {
  const { namespace, id, snapshotter, snapshotKey } = container;
  await ignoreMissing(snapshotters.get(snapshotter)?.remove(snapshotKey) ?? Promise.resolve());
  await store.delete(namespace, id);
  events.publish("/containers/delete", namespace, told(container));
}
