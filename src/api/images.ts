import { Hono } from "hono";
import * as v from "valibot";
import { parsePlatform } from "../core/platform.ts";
import { formatReference, parseReference } from "../core/reference.ts";
import { problemOf } from "./errors.ts";
import { json, namespaceField, query } from "./input.ts";
import { jsonLines, jsonLinesType } from "./json_lines.ts";
import { ImageAnswer, itemsOf } from "./answers.ts";
import { documented } from "./documented.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(512));
const path = v.pipe(v.string(), v.startsWith("/", "an absolute path on the daemon's machine"), v.maxLength(4096));

/** `/v1/images` */
export function imageRoutes({ images }: ApiParts) {
  return new Hono<ApiEnv>()
    .get(
      "/",
      documented("Lists images.", { 200: itemsOf(ImageAnswer) }),
      scope,
      async (c) => c.json({ items: await images.list(c.req.valid("query").namespace) }),
    )
    // Pulls, and answers with JSON lines: any number of `progress`, then `image` or `error`.
    .post(
      "/",
      documented("Pulls an image: lines of progress, then the image or the problem.", { 200: jsonLinesType }),
      scope,
      json(v.strictObject({
        reference: name,
        platform: v.optional(v.pipe(v.string(), v.maxLength(128))),
        snapshotter: v.optional(v.pipe(v.string(), v.maxLength(64))),
        credentials: v.optional(v.strictObject({ username: v.string(), password: v.string() })),
        plainHttp: v.optional(v.boolean()),
      })),
      (c) => {
        const { reference, platform, ...options } = c.req.valid("json");
        const { namespace } = c.req.valid("query");
        const parsed = platform === undefined ? {} : { platform: parsePlatform(platform) };
        parseReference(reference);
        const parent = c.var.span;
        return jsonLines(async (write, signal) => {
          try {
            const image = await images.pull(namespace, reference, {
              ...options,
              ...parsed,
              parent,
              signal,
              onProgress: (progress) => write({ progress }),
            });
            write({ image });
          } catch (error) {
            write({ error: problemOf(error) });
          }
        });
      },
    )
    .post(
      "/import",
      documented("Imports images from a file or folder of the daemon's machine.", { 201: itemsOf(ImageAnswer) }, {
        problems: ["not_found", "data_loss"],
      }),
      scope,
      json(v.strictObject({ path, name: v.optional(name) })),
      async (c) => {
        const { path, ...options } = c.req.valid("json");
        const parent = c.var.span;
        return c.json(
          { items: await images.import(c.req.valid("query").namespace, path, { ...options, parent }) },
          201,
        );
      },
    )
    .post(
      "/export",
      documented("Exports an image to a file of the daemon's machine.", { 204: null }, {
        problems: ["not_found", "already_exists"],
      }),
      scope,
      json(v.strictObject({ name, path })),
      async (c) => {
        const { name, path } = c.req.valid("json");
        await images.export(c.req.valid("query").namespace, formatReference(parseReference(name)), path, {
          parent: c.var.span,
        });
        return c.body(null, 204);
      },
    )
    .delete(
      "/",
      documented("Removes an image's name; what nothing else needs goes with the next garbage collection.", {
        204: null,
      }, { problems: ["not_found"] }),
      query(v.strictObject({ namespace: namespaceField, name })),
      async (c) => {
        const { namespace, name } = c.req.valid("query");
        await images.remove(namespace, formatReference(parseReference(name)));
        return c.body(null, 204);
      },
    );
}
