import { Hono } from "hono";
import * as v from "valibot";
import { messageOf } from "../core/errors.ts";
import { version } from "../version.ts";
import {
  ContentAnswer,
  GarbageAnswer,
  InfoAnswer,
  itemsOf,
  PluginAnswer,
  RecoveryAnswer,
  StorageAnswer,
} from "./answers.ts";
import { documented } from "./documented.ts";
import { json, namespaceField } from "./input.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/info`, `/v1/plugins`, and what is done to the state folder as a whole. */
export function systemRoutes({ host, info, plugins, storage }: ApiParts) {
  return new Hono()
    .get("/info", documented("Describes the daemon.", { 200: InfoAnswer }), (c) => {
      const { name, version: hostVersion, arch, pid } = host;
      return c.json({ version, host: { name, version: hostVersion, arch }, pid, ...info });
    })
    .get(
      "/plugins",
      documented("Lists every plugin with its state.", { 200: itemsOf(PluginAnswer) }),
      (c) => c.json({ items: plugins() }),
    )
    .post(
      "/gc",
      documented("Removes what nothing refers to, and tells what.", { 200: GarbageAnswer }, {
        problems: ["failed_precondition", "data_loss"],
      }),
      json(v.strictObject({ dryRun: v.optional(v.boolean(), false) })),
      async (c) => {
        const { problems, ...collected } = await storage.collect(c.req.valid("json"));
        return c.json({
          ...collected,
          problems: problems.map(({ what, error }) => ({ what, reason: messageOf(error) })),
        });
      },
    )
    .get(
      "/system/df",
      documented("Explains what takes how much of the state folder.", { 200: StorageAnswer }),
      async (c) => c.json(await storage.usage(c.req.raw.signal)),
    )
    .post(
      "/content/verify",
      documented(
        "Reads every blob, tells those that are damaged or missing, and pulls them again where that is asked.",
        {
          200: ContentAnswer,
        },
      ),
      json(v.strictObject({ repair: v.optional(v.boolean(), false) })),
      async (c) => c.json(await storage.verify({ ...c.req.valid("json"), signal: c.req.raw.signal })),
    )
    .post(
      "/content/recover",
      documented("Gives names again to images whose names were lost with the database.", { 200: RecoveryAnswer }),
      json(v.strictObject({ namespace: namespaceField })),
      async (c) => c.json(await storage.recover(c.req.valid("json").namespace)),
    );
}
