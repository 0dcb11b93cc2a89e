import { mkdirSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { silent } from "../../src/core/logger.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Queue } from "../../src/core/queue.ts";
import { currentHost } from "../../src/host/mod.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import type { QueueContract } from "../contract/queue.ts";
import { sameHost } from "../support/same_host.ts";

/**
 * Opens a queue plugin, here or in another process.
 * @param module what exports it, where it is not built in.
 * @param settings its part of the configuration; in the other process it has none.
 */
export function opener(plugin: Plugin<Queue>, module?: URL, settings: object = {}): QueueContract {
  return {
    async open(root) {
      await using opened = new AsyncDisposableStack();
      mkdirSync(root, { recursive: true });
      const metadata = await openMetadata({ root });
      opened.defer(() => metadata.close());
      const queue = await plugin.create({
        host: await currentHost(),
        root,
        run: join(root, "run"),
        config: plugin.config === undefined ? undefined : v.parse(plugin.config, settings),
        log: silent,
        get: <T>() => metadata as T,
      });
      opened.defer(async () => {
        if (Symbol.asyncDispose in queue) await (queue as Queue & AsyncDisposable)[Symbol.asyncDispose]();
        else if (Symbol.dispose in queue) (queue as Queue & Disposable)[Symbol.dispose]();
      });
      const owned = opened.move();
      return { queue, [Symbol.asyncDispose]: () => owned.disposeAsync() };
    },
    async publishing(root) {
      return [
        ...await sameHost(fileURLToPath(new URL(`publish_on${extname(import.meta.url)}`, import.meta.url))),
        plugin.id,
        root,
        ...module ? [module.href] : [],
      ];
    },
  };
}
