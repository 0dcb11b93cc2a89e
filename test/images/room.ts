import { join } from "node:path";
import { silent } from "../../src/core/logger.ts";
import * as v from "valibot";
import type { ContentStore } from "../../src/core/content.ts";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { LocalContent } from "../../src/content/store.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { currentHost } from "../../src/host/mod.ts";
import type { UnpackLimits } from "../../src/images/budget.ts";
import { Images } from "../../src/images/images.ts";
import { folderNames } from "../../src/linux/folder_names.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { native } from "../../snapshotters/native/mod.ts";
import { overlay } from "../../snapshotters/overlay/mod.ts";

/** Everything that images need, in a root folder. */
export interface Room extends AsyncDisposable {
  readonly images: Images;
  readonly content: ContentStore;
  readonly metadata: Metadata;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly kernel: Kernel;
  readonly root: string;
}

/** @param plugins more snapshotters than overlay and native. */
export async function openRoom(
  root: string,
  limits?: UnpackLimits,
  plugins: readonly Plugin<Snapshotter>[] = [],
): Promise<Room> {
  const host = await currentHost();
  const kernel = new Kernel(host);
  const namesIn = (folder: string) => folderNames(kernel, folder);
  const content = await LocalContent.open(join(root, "content"), { namesIn });
  const metadata = await openMetadata({ root });
  const snapshotters = new Map<string, Snapshotter>();
  const all: readonly Plugin<Snapshotter>[] = [overlay, native, ...plugins];
  for (const plugin of all) {
    const context = {
      host,
      root,
      run: join(root, "run"),
      config: plugin.config === undefined ? undefined : v.parse(plugin.config, {}),
      log: silent,
      get: <T>() => metadata as T,
    };
    snapshotters.set(plugin.id, await plugin.create(context));
  }
  const distribution = new Registry({
    plainHttp: [],
    credentials: async () => undefined,
    headerTimeoutMs: 5000,
    stallTimeoutMs: 5000,
    retry: { attempts: 1, baseMs: 1, maxMs: 1 },
  });
  const images = new Images({
    content,
    distribution,
    metadata,
    snapshotters,
    host,
    artifacts: join(root, "artifacts"),
    ...(limits === undefined ? {} : { limits }),
  });
  return {
    images,
    content,
    metadata,
    snapshotters,
    kernel,
    root,
    async [Symbol.asyncDispose]() {
      for (const each of snapshotters.values()) {
        if (Symbol.dispose in each) (each as Snapshotter & Disposable)[Symbol.dispose]();
      }
      await metadata.close();
    },
  };
}
