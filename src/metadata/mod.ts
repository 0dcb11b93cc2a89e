/** Metadata: what the daemon knows, in a database file or, for definitions, at a libSQL URL. */
import * as v from "valibot";
import type { Metadata } from "../core/metadata.ts";
import type { Plugin } from "../core/plugin.ts";
import type { Queue } from "../core/queue.ts";
import { openMetadata } from "./metadata.ts";
import { openQueue } from "./queue.ts";
import { secretKeyForm } from "./secret_key.ts";

const ConfigSchema = v.strictObject({
  /** A libSQL URL for definitions (namespaces, images, functions). Default: the file `mayfly.db` in the root folder. */
  url: v.optional(v.pipe(v.string(), v.regex(/^(?:file|libsql|https?|wss?):/, "a libSQL URL"))),
  authToken: v.optional(v.string()),
  /** What secrets are sealed with. Default: the file `secret.key` in the root folder, made when the first one is. */
  secretKey: v.optional(v.pipe(v.string(), v.regex(secretKeyForm, "64 hexadecimal digits"))),
  /** Which ids of this machine the containers of namespaces get that have users of their own: 65,536 each. */
  idRanges: v.optional(v.strictObject({
    first: v.pipe(v.number(), v.safeInteger(), v.minValue(65_536), v.maxValue(0xfffe_0000)),
    count: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(65_000)),
  })),
});

/** The plugin `metadata/libsql`. */
export const metadata: Plugin<Metadata, typeof ConfigSchema> = {
  kind: "metadata",
  id: "libsql",
  contract: 1,
  config: ConfigSchema,
  create: ({ root, config, log }) => openMetadata({ root, ...config, log }),
};

/** The plugin `queue/libsql`: in the file of the root folder, whose tables the metadata has made. */
export const queue: Plugin<Queue> = {
  kind: "queue",
  id: "libsql",
  contract: 1,
  requires: ["metadata/libsql"],
  create: ({ root }) => openQueue(root),
};

export { openMetadata } from "./metadata.ts";
