import { Hono } from "hono";
import * as v from "valibot";
import type { ApiParts } from "./parts.ts";
import { json, limitField, namespaceField, query } from "./input.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));

/** `/v1/functions` */
export function functionRoutes({ functions }: ApiParts) {
  return new Hono()
    .get("/", scope, async (c) => {
      return c.json({ items: await functions.list(c.req.valid("query").namespace) });
    })
    .get("/:name", scope, async (c) => {
      return c.json(await functions.get(c.req.valid("query").namespace, c.req.param("name")));
    })
    .put("/:name", scope, json(v.looseObject({ image: v.string() })), async (c) => {
      const record = await functions.deploy(
        c.req.valid("query").namespace,
        c.req.param("name"),
        c.req.valid("json"),
      );
      return c.json(record, record.revision === 1 ? 201 : 200);
    })
    .delete("/:name", scope, async (c) => {
      await functions.delete(c.req.valid("query").namespace, c.req.param("name"));
      return c.body(null, 204);
    })
    .get(
      "/:name/logs",
      query(v.strictObject({ namespace: namespaceField, limit: limitField })),
      async (c) => {
        const { namespace, limit } = c.req.valid("query");
        const record = await functions.get(namespace, c.req.param("name"));
        return c.json({ items: await functions.invocations(namespace, { function: record.name, limit }) });
      },
    );
}
