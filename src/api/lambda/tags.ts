import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { Failure } from "../../core/errors.ts";
import type { Labels } from "../../core/labels.ts";
import { parse } from "../../core/parse.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import { ownLabels, tagsOf } from "./configuration.ts";
import type { Managed } from "./managed.ts";

/** As many as AWS Lambda has. */
const maxTags = 50;
const KeySchema = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(128),
  v.check((key) => !ownLabels.has(key), "a tag that is none of AWS Lambda's own"),
);
/** What stands in `Tags`. */
export const TagsSchema = v.pipe(v.record(KeySchema, v.pipe(v.string(), v.maxLength(256))), v.maxEntries(maxTags));
const PutSchema = v.strictObject({ Tags: TagsSchema });
const KeysSchema = v.pipe(v.array(KeySchema), v.minLength(1), v.maxLength(maxTags));

/** `/2017-03-31/tags/{ARN}`: a function's labels. @param admin guards each call. */
export function tagRoutes(managed: Managed, admin: MiddlewareHandler): Hono<ApiEnv> {
  const change = async (c: Context<ApiEnv>, edit: (labels: Labels) => Labels) => {
    await managed.change(c, {}, (before) => {
      const labels = edit(before.labels ?? {});
      const count = Object.keys(labels).filter((name) => !ownLabels.has(name)).length;
      if (count > maxTags) {
        throw new Failure(
          "invalid_argument",
          `cannot tag the function: it would have ${count} tags, ${maxTags} at most`,
          {
            details: { field: "Tags" },
          },
        );
      }
      return { ...before, labels };
    });
    return c.body(null, 204);
  };
  return new Hono<ApiEnv>()
    .get("/:name", admin, async (c) => {
      return c.json({ Tags: tagsOf(await managed.existing(await managed.target(c, "read"), c)) });
    })
    .post("/:name", admin, async (c) => {
      const { Tags } = parse(PutSchema, await readJson(c), "cannot tag the function");
      return await change(c, (labels) => ({ ...labels, ...Tags }));
    })
    .delete("/:name", admin, async (c) => {
      const keys = parse(KeysSchema, c.req.queries("tagKeys") ?? [], "cannot untag the function: tagKeys");
      return await change(
        c,
        (labels) => Object.fromEntries(Object.entries(labels).filter(([name]) => !keys.includes(name))),
      );
    });
}
