import type { SnapshotFolder } from "../core/snapshotter.ts";
import { toText } from "../linux/byte_string.ts";
import type { Kernel } from "../linux/kernel.ts";
import { TreeDiff } from "./tree_diff.ts";

/** What happened to a file since its container was made, in the letters of `docker diff`: added, changed, deleted. */
export type ChangeKind = "A" | "C" | "D";

export interface FileChange {
  readonly kind: ChangeKind;
  /** From the container's root: `/etc/passwd`. What is no UTF-8 shows as U+FFFD. */
  readonly path: string;
}

const kinds = { added: "A", changed: "C", deleted: "D" } as const;

/**
 * What differs in an active snapshot from its parents, in the order of the paths' bytes. A folder in which something changed is
 * listed as changed, too.
 */
export async function diffFolder(
  kernel: Kernel,
  folder: SnapshotFolder,
  signal?: AbortSignal,
): Promise<readonly FileChange[]> {
  using diff = new TreeDiff(kernel, folder, signal);
  const changes: FileChange[] = [];
  for await (const { path, kind } of diff.changes()) {
    if (kind !== "same" && path !== "") changes.push({ kind: kinds[kind], path: `/${toText(path)}` });
  }
  return changes;
}
