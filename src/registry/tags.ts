import { Hono } from "hono";
import * as v from "valibot";
import { type RegistryEnv, repositoryOf } from "./access.ts";
import { refusal } from "./errors.ts";
import { defaultLimits, pageSize } from "./limits.ts";
import type { RegistryParts } from "./parts.ts";

const QuerySchema = v.object({
  n: v.optional(v.pipe(v.string(), v.digits(), v.maxLength(9), v.transform(Number))),
  last: v.optional(v.pipe(v.string(), v.maxLength(128))),
});

/** `/v2/<name>/tags/list` */
export function tagRoutes({ repositories }: RegistryParts) {
  return new Hono<RegistryEnv>()
    .get("/:name{.+}/tags/list", async (c) => {
      const at = repositoryOf(c);
      const query = v.safeParse(QuerySchema, c.req.query());
      if (!query.success) throw refusal("UNSUPPORTED", "cannot list tags: n has to be a number", { status: 400 });
      const { n, last } = query.output;
      const limit = Math.min(n ?? pageSize, defaultLimits.tags);
      // One more tells whether there are more.
      const tags = await repositories.tags(at, { last, limit: limit === 0 ? 0 : limit + 1 });
      const page = tags.slice(0, limit);
      const end = page.at(-1);
      if (end !== undefined && tags.length > page.length) {
        const next = `/v2/${at.repository}/tags/list?n=${limit}&last=${encodeURIComponent(end)}`;
        c.header("link", `<${next}>; rel="next"`);
      }
      return c.json({ name: at.repository, tags: page });
    });
}
