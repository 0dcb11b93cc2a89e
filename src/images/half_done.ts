import type { ContentStore } from "../core/content.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { importPrefix } from "./ingest.ts";
import { unpackPrefix } from "./unpack.ts";

export interface HalfDoneParts {
  readonly content: ContentStore;
  readonly metadata: Pick<Metadata, "conflict" | "leases">;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
}

/** As `Images.recover`, of imports, leases and snapshots. */
export async function removeHalfDone({ content, metadata, snapshotters }: HalfDoneParts): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const { ref } of await content.ingests()) {
    if (!ref.startsWith(importPrefix)) continue;
    await content.abort(ref);
    removed.push(ref);
  }
  if (metadata.conflict !== undefined) return removed;
  // Nobody works on anything yet: whoever took them is gone.
  for (const { id } of await metadata.leases.list()) await metadata.leases.delete(id);
  for (const snapshotter of snapshotters.values()) {
    for (const { key, kind } of await snapshotter.walk()) {
      if (kind !== "active" || !key.startsWith(unpackPrefix)) continue;
      await snapshotter.remove(key);
      removed.push(key);
    }
    removed.push(...await snapshotter.cleanup());
  }
  return removed;
}
