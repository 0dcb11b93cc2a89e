import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { openMetadata } from "../../src/metadata/mod.ts";
import { leftovers } from "../support/leftovers.ts";

/**
 * What a process has open, by kind, without sockets: clients keep connections open as they like.
 * @example { "anon_inode:[eventpoll]": 2, "pipe": 4, "/tmp/x/root/mayfly.db": 1 }
 */
export function descriptors(pid: number): Readonly<Record<string, number>> {
  const counts = new Map<string, number>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let target: string;
    try {
      target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // It was closed in between.
      continue;
    }
    const kind = target.replace(/:\[\d+\]$/, "");
    if (kind !== "socket") counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * What is on the disk and in the database of a daemon that has ended, a line each, beside images, functions and committed
 * snapshots.
 */
export async function leftOnDisk(folder: string): Promise<readonly string[]> {
  const root = join(folder, "root");
  const metadata = await openMetadata({ root });
  try {
    const snapshotters = ["overlay", "erofs", "native"];
    const rows = await Promise.all(snapshotters.map(async (id) => ({ id, all: await metadata.snapshots(id).list() })));
    const owned = new Set(rows.flatMap(({ id, all }) => all.map((info) => `snapshot ${id}/${info.id}`)));
    const kept = join(root, "containers");
    return [
      ...leftovers(folder).filter((line) => !owned.has(line)),
      ...rows.flatMap(({ id, all }) =>
        all.filter(({ kind }) => kind !== "committed").map(({ key }) => `row of snapshot ${id}/${key}`)
      ),
      ...(await metadata.containers.list()).map(({ id }) => `row of container ${id}`),
      ...(await metadata.leases.list()).map(({ id }) => `row of lease ${id}`),
      ...folders(kept).flatMap((namespace) =>
        folders(join(kept, namespace)).map((id) => `folder of container ${namespace}/${id}`)
      ),
      ...folders(join(root, "artifacts")).map((id) => `folder of artifact ${id}`),
      ...readdirSync(join(folder, "run"), { recursive: true }).map((path) => `${path} in the folder for runtime state`),
    ];
  } finally {
    await metadata.close();
  }
}

function folders(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    // Nobody needed it yet.
    return [];
  }
}
