import { mkdirSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import type { Metadata } from "../../src/core/metadata.ts";
import { silent } from "../../src/core/logger.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { currentHost } from "../../src/host/mod.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import type { SnapshotterContract } from "../contract/snapshotter.ts";
import { sameHost } from "../support/same_host.ts";

/**
 * Opens a snapshotter plugin with a metadata database of its own, here or in another process.
 * @param module what exports it, where it is not built in.
 * @param settings its part of the configuration; in the other process it has none.
 */
export function opener(plugin: Plugin<Snapshotter>, module?: URL, settings: object = {}): SnapshotterContract {
  return {
    async open(root, wrap = (store) => store) {
      mkdirSync(root, { recursive: true });
      const metadata: Metadata = await openMetadata({ root });
      const snapshotter = await plugin.create({
        host: await currentHost(),
        root,
        run: join(root, "run"),
        config: plugin.config === undefined ? undefined : v.parse(plugin.config, settings),
        log: silent,
        get: <T>() => ({ snapshots: (id: string) => wrap(metadata.snapshots(id)) }) as T,
      });
      return {
        snapshotter,
        folder: join(root, "snapshots", plugin.id),
        async [Symbol.asyncDispose]() {
          if (Symbol.dispose in snapshotter) (snapshotter as Snapshotter & Disposable)[Symbol.dispose]();
          await metadata.close();
        },
      };
    },
    async churn(root) {
      return [
        ...await sameHost(fileURLToPath(new URL(`churn${extname(import.meta.url)}`, import.meta.url))),
        plugin.id,
        root,
        ...module ? [module.href] : [],
      ];
    },
  };
}
