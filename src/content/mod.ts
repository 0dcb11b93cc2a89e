import { join } from "node:path";
import * as v from "valibot";
import type { ContentStore } from "../core/content.ts";
import type { Plugin } from "../core/plugin.ts";
import { folderNames } from "../linux/folder_names.ts";
import { Kernel } from "../linux/kernel.ts";
import { LocalContent } from "./store.ts";

const Config = v.strictObject({
  /** The largest blob that is accepted. Default 64 GiB. */
  maxBlobBytes: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1)), 64 * 2 ** 30),
});

/** The content store in the daemon's root folder. */
export const content: Plugin<ContentStore, typeof Config> = {
  kind: "content",
  id: "local",
  contract: 1,
  config: Config,
  create({ host, root, config }) {
    const kernel = new Kernel(host);
    return LocalContent.open(join(root, "content"), {
      limitBytes: config.maxBlobBytes,
      namesIn: (folder) => folderNames(kernel, folder),
    });
  },
};
