import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { currentHost } from "../../src/host/mod.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import type { SnapshotterUnderTest } from "../contract/snapshotter.ts";

/** Opens a snapshotter plugin with a metadata database of its own. */
export function opener(plugin: Plugin<Snapshotter>): (root: string) => Promise<SnapshotterUnderTest> {
  return async (root) => {
    mkdirSync(root, { recursive: true });
    const metadata: Metadata = await openMetadata({ root });
    const snapshotter = await plugin.create({
      host: await currentHost(),
      root,
      run: join(root, "run"),
      config: undefined,
      get: <T>() => metadata as T,
    });
    return {
      snapshotter,
      folder: join(root, "snapshots", plugin.id),
      [Symbol.asyncDispose]: () => metadata.close(),
    };
  };
}
