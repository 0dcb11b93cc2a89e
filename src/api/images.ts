import { Hono } from "hono";
import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { parsePlatform } from "../core/platform.ts";
import { formatReference, parseReference } from "../core/reference.ts";
import type { OnProgress } from "../images/progress.ts";
import { problemOf } from "./errors.ts";
import { json, namespaceField, query, settingsField } from "./input.ts";
import { jsonLines, jsonLinesType } from "./json_lines.ts";
import { ImageAnswer, ImageCheckAnswer, itemsOf } from "./answers.ts";
import { documented } from "./documented.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(512));
const path = v.pipe(v.string(), v.startsWith("/", "an absolute path on the daemon's machine"), v.maxLength(4096));

const platform = v.optional(v.pipe(v.string(), v.maxLength(128)));
const platformOf = (text: string | undefined) => text === undefined ? {} : { platform: parsePlatform(text) };

/** How to reach a registry. */
const registryAccess = {
  credentials: v.optional(v.strictObject({ username: v.string(), password: v.string() })),
  plainHttp: v.optional(v.boolean()),
};

const archiveType = "application/x-tar";
/** The most that a layer may have whose archive is sent. */
const maxArchiveBytes = 4 * 1024 ** 3;

/** What an image is built as. */
const BuildInputSchema = v.strictObject({
  /** The new image's name, with a tag. */
  name,
  /** An image that is here, or one that is pulled first. */
  base: name,
  /** Dockerfile instructions that change the configuration, as `ENTRYPOINT ["/tool"]`. */
  changes: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(16 * 1024))), v.maxLength(256)), []),
});

/** @throws resource_exhausted (reason `body_too_large`) behind the limit. */
async function* atMost(limitBytes: number, body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const part of body ?? []) {
    bytes += part.length;
    if (bytes > limitBytes) {
      throw new Failure("resource_exhausted", `cannot build an image: the layer has more than ${limitBytes} bytes`, {
        details: { reason: "body_too_large", limitBytes },
      });
    }
    yield part;
  }
}

/** Lines of `progress`, then `image` or `error`. */
function progressLines(work: (onProgress: OnProgress, signal: AbortSignal) => Promise<unknown>): Response {
  return jsonLines(async (write, signal) => {
    try {
      write({ image: await work((progress) => write({ progress }), signal) });
    } catch (error) {
      write({ error: problemOf(error) });
    }
  });
}

/** `/v1/images` */
export function imageRoutes({ images, info }: ApiParts) {
  return new Hono<ApiEnv>()
    .get(
      "/",
      documented("Lists images.", { 200: itemsOf(ImageAnswer) }),
      scope,
      async (c) => c.json({ items: await images.list(c.req.valid("query").namespace) }),
    )
    .post(
      "/",
      documented("Pulls an image: lines of progress, then the image or the problem.", { 200: jsonLinesType }),
      scope,
      json(v.strictObject({
        reference: name,
        platform,
        allPlatforms: v.optional(v.boolean()),
        snapshotter: v.optional(v.pipe(v.string(), v.maxLength(64))),
        ...registryAccess,
      })),
      (c) => {
        const { reference, platform, ...options } = c.req.valid("json");
        const chosen = platformOf(platform);
        const { namespace } = c.req.valid("query");
        parseReference(reference);
        const parent = c.var.span;
        return progressLines((onProgress, signal) =>
          images.pull(namespace, reference, { ...options, ...chosen, artifacts: true, parent, signal, onProgress })
        );
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
      documented("Exports images, as one OCI layout, to a file or folder of the daemon's machine.", { 204: null }, {
        problems: ["not_found", "already_exists"],
      }),
      scope,
      json(v.strictObject({ name: v.union([name, v.pipe(v.array(name), v.minLength(1), v.maxLength(100))]), path })),
      async (c) => {
        const { name, path } = c.req.valid("json");
        await images.export(c.req.valid("query").namespace, [name].flat(), path, { parent: c.var.span });
        return c.body(null, 204);
      },
    )
    .post(
      "/push",
      documented("Pushes an image: lines of progress, then what the name points at, or the problem.", {
        200: jsonLinesType,
      }),
      scope,
      json(v.strictObject({ name, to: v.optional(name), platform, ...registryAccess })),
      (c) => {
        const { name, to, platform, ...options } = c.req.valid("json");
        const chosen = platformOf(platform);
        const { namespace } = c.req.valid("query");
        for (const given of [name, to ?? name]) parseReference(given);
        const parent = c.var.span;
        return progressLines((onProgress, signal) =>
          images.push(namespace, name, { ...options, ...chosen, to, parent, signal, onProgress })
        );
      },
    )
    .post(
      "/build",
      documented("Makes an image of another one and the body, a layer: the same parts make the same image.", {
        201: ImageAnswer,
      }, {
        body: archiveType,
        jsonQuery: { settings: BuildInputSchema },
        problems: ["not_found", "unavailable", "permission_denied", "resource_exhausted"],
      }),
      query(v.strictObject({ namespace: namespaceField, settings: settingsField })),
      async (c) => {
        const { namespace, settings } = c.req.valid("query");
        const input = parse(BuildInputSchema, settings, "cannot build an image");
        const archive = atMost(maxArchiveBytes, c.req.raw.body);
        return c.json(
          await images.build(namespace, {
            ...input,
            snapshotter: info.snapshotter,
            archive,
            parent: c.var.span,
            signal: c.req.raw.signal,
          }),
          201,
        );
      },
    )
    .post(
      "/tag",
      documented("Gives an image one more name.", { 201: ImageAnswer }, { problems: ["not_found"] }),
      scope,
      json(v.strictObject({ name, target: name })),
      async (c) => {
        const { name, target } = c.req.valid("json");
        return c.json(await images.tag(c.req.valid("query").namespace, name, target), 201);
      },
    )
    .post(
      "/verify",
      documented(
        "Reads all that is here of an image against its digests and diffIDs, and asks the policy of signatures of it.",
        { 200: ImageCheckAnswer },
        { problems: ["not_found"] },
      ),
      scope,
      json(v.strictObject({ name, ...registryAccess })),
      async (c) => {
        const { name, ...options } = c.req.valid("json");
        return c.json(
          await images.verify(c.req.valid("query").namespace, name, { ...options, signal: c.req.raw.signal }),
        );
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
