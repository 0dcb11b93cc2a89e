import { Hono } from "hono";
import * as v from "valibot";
import { NameSchema } from "../core/function.ts";
import { limitField, namespaceField, query } from "./input.ts";
import { InvocationAnswer, itemsOf } from "./answers.ts";
import { documented } from "./documented.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/invocations` */
export function invocationRoutes({ functions }: ApiParts) {
  return new Hono()
    .get(
      "/",
      documented("Lists invocations, the newest first.", { 200: itemsOf(InvocationAnswer) }),
      query(v.strictObject({ namespace: namespaceField, function: v.optional(NameSchema), limit: limitField })),
      async (c) => {
        const { namespace, function: name, limit } = c.req.valid("query");
        const options = name === undefined ? { limit } : { function: name, limit };
        return c.json({ items: await functions.invocations(namespace, options) });
      },
    )
    .get(
      "/:id",
      documented("Shows an invocation.", { 200: InvocationAnswer }),
      query(v.strictObject({ namespace: namespaceField })),
      async (c) => {
        return c.json(await functions.invocation(c.req.valid("query").namespace, c.req.param("id")));
      },
    );
}
