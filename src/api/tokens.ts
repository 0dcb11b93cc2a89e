import { Hono } from "hono";
import * as v from "valibot";
import { may } from "../core/access.ts";
import { TokenInputSchema, TokenNamespaceSchema } from "../core/token.ts";
import { itemsOf, NewTokenAnswer, TokenAnswer } from "./answers.ts";
import { documented } from "./documented.ts";
import { json, query } from "./input.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: v.optional(TokenNamespaceSchema, "default") }));

/** `/v1/tokens`: who may do what over TCP. */
export function tokenRoutes({ tokens }: ApiParts) {
  return new Hono<ApiEnv>()
    .get(
      "/",
      documented("Lists tokens, without their secrets, of one namespace or of all that the caller administers.", {
        200: itemsOf(TokenAnswer),
      }),
      query(v.strictObject({ namespace: v.optional(TokenNamespaceSchema) })),
      async (c) => {
        const { namespace } = c.req.valid("query");
        const caller = await c.var.identify();
        return c.json({
          items: tokens.list().filter((token) =>
            (namespace === undefined || token.namespace === namespace) && may(caller, "admin", token.namespace)
          ),
        });
      },
    )
    .post(
      "/",
      documented("Makes a token for a namespace, or for all (*), and tells it this once.", { 201: NewTokenAnswer }, {
        problems: ["already_exists", "resource_exhausted"],
      }),
      scope,
      json(TokenInputSchema),
      async (c) => {
        const created = await tokens.create(c.req.valid("query").namespace, c.req.valid("json"));
        return c.json(created, 201, { "cache-control": "no-store" });
      },
    )
    .delete(
      "/:name",
      documented("Removes a token: who has it gets in no more.", { 204: null }),
      scope,
      async (c) => {
        await tokens.remove(c.req.valid("query").namespace, c.req.param("name"));
        return c.body(null, 204);
      },
    );
}
