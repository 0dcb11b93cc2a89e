import type { ContainerStore, ListedContainer } from "../core/container.ts";
import type { Network } from "../core/network.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { containerSnapshotPrefix, ephemeralLabel } from "./container_run.ts";

interface Parts {
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly containers: ContainerStore;
  readonly networks?: ReadonlyMap<string, Network>;
}

/** What was removed, by name. */
export interface Recovered {
  /** `<runtime>/<id>`. */
  readonly tasks: readonly string[];
  /** `<namespace>/<id>`. */
  readonly containers: readonly string[];
  /** `<snapshotter>/<key>`. */
  readonly snapshots: readonly string[];
  /** `<network>/<what>`. */
  readonly networks: readonly string[];
  /** What could not be removed, and why. It is tried again at the next start. */
  readonly problems: readonly { readonly what: string; readonly error: unknown }[];
}

/**
 * Removes what an earlier process left. Processes go first, since they hold snapshots mounted; a container's row goes last,
 * since it is what the next attempt would find.
 */
export async function recover(parts: Parts, snapshotPrefixes: readonly string[]): Promise<Recovered> {
  const recovered = {
    tasks: [] as string[],
    containers: [] as string[],
    snapshots: [] as string[],
    networks: [] as string[],
    problems: [] as { what: string; error: unknown }[],
  };
  const attempt = async (what: string, action: () => Promise<void>) => {
    try {
      await action();
    } catch (error) {
      recovered.problems.push({ what, error });
    }
  };

  // Read first: where it is not known which containers live on, nothing of theirs may be removed.
  const containers = await parts.containers.list();
  const kept = new Set(
    containers.filter((container) => !isOnlyRun(container)).map((one) => `${one.snapshotter}/${one.snapshotKey}`),
  );
  for (const runtime of parts.runtimes.values()) {
    await attempt(`tasks of runtime ${runtime.id}`, async () => {
      recovered.tasks.push(...(await runtime.recover()).map((id) => `${runtime.id}/${id}`));
    });
  }
  for (const network of parts.networks?.values() ?? []) {
    await attempt(`network ${network.id}`, async () => {
      recovered.networks.push(...(await network.recover?.() ?? []).map((what) => `${network.id}/${what}`));
    });
  }
  const prefixes = [containerSnapshotPrefix, ...snapshotPrefixes];
  for (const snapshotter of parts.snapshotters.values()) {
    await attempt(`snapshots of ${snapshotter.id}`, async () => {
      for (const { key, kind } of await snapshotter.walk()) {
        if (kind === "committed" || !prefixes.some((prefix) => key.startsWith(prefix))) continue;
        if (kept.has(`${snapshotter.id}/${key}`)) continue;
        await attempt(`snapshot ${snapshotter.id}/${key}`, async () => {
          await snapshotter.remove(key);
          recovered.snapshots.push(`${snapshotter.id}/${key}`);
        });
      }
    });
  }
  for (const { namespace, id } of containers.filter(isOnlyRun)) {
    await attempt(`container ${namespace}/${id}`, async () => {
      await parts.containers.delete(namespace, id);
      recovered.containers.push(`${namespace}/${id}`);
    });
  }
  return recovered;
}

/** One that lives on has settings. */
function isOnlyRun({ labels, settings }: ListedContainer): boolean {
  return settings === undefined && labels[ephemeralLabel] !== undefined;
}
