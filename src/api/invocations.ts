import { Hono } from "hono";
import * as v from "valibot";
import { NameSchema } from "../core/function.ts";
import { limitField, namespaceField, query } from "./input.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/invocations` */
export function invocationRoutes({ functions }: ApiParts) {
  return new Hono()
    .get(
      "/",
      query(v.strictObject({ namespace: namespaceField, function: v.optional(NameSchema), limit: limitField })),
      async (c) => {
        const { namespace, function: name, limit } = c.req.valid("query");
        const options = name === undefined ? { limit } : { function: name, limit };
        return c.json({ items: await functions.invocations(namespace, options) });
      },
    )
    .get("/:id", query(v.strictObject({ namespace: namespaceField })), async (c) => {
      return c.json(await functions.invocation(c.req.valid("query").namespace, c.req.param("id")));
    });
}
