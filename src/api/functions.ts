import { Hono } from "hono";
import * as v from "valibot";
import { TagSchema } from "../core/revision.ts";
import { FunctionAnswer, InvocationAnswer, itemsOf } from "./answers.ts";
import { documented } from "./documented.ts";
import { requireMeans } from "./machine_means.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";
import { json, limitField, namespaceField, query } from "./input.ts";

/** Whether a new revision gets the traffic that goes to the newest; true where it is not said. */
const whetherField = v.optional(
  v.pipe(v.picklist(["true", "false"]), v.transform((text) => text === "true")),
  "true",
);
const scope = query(v.strictObject({ namespace: namespaceField }));

/** `/v1/functions` */
export function functionRoutes({ functions }: ApiParts) {
  return new Hono<ApiEnv>()
    .get("/", documented("Lists functions.", { 200: itemsOf(FunctionAnswer) }), scope, async (c) => {
      return c.json({ items: await functions.list(c.req.valid("query").namespace) });
    })
    .get("/:name", documented("Shows a function.", { 200: FunctionAnswer }), scope, async (c) => {
      return c.json(await functions.get(c.req.valid("query").namespace, c.req.param("name")));
    })
    .put(
      "/:name",
      documented("Creates or replaces a function; an image that is not here is pulled.", {
        200: FunctionAnswer,
        201: FunctionAnswer,
      }, { problems: ["permission_denied", "failed_precondition", "unavailable"] }),
      query(v.strictObject({ namespace: namespaceField, traffic: whetherField, tag: v.optional(TagSchema) })),
      json(v.looseObject({ image: v.string() })),
      async (c) => {
        requireMeans(await c.var.identify(), c.req.valid("json"), "deploy a function");
        const { namespace, ...options } = c.req.valid("query");
        const input = c.req.valid("json");
        const record = await functions.deploy(namespace, c.req.param("name"), input, {
          ...options,
          parent: c.var.span,
        });
        return c.json(record, record.revision === 1 ? 201 : 200);
      },
    )
    .delete("/:name", documented("Removes a function.", { 204: null }), scope, async (c) => {
      await functions.delete(c.req.valid("query").namespace, c.req.param("name"));
      return c.body(null, 204);
    })
    .get(
      "/:name/logs",
      documented("Lists the invocations of a function, the newest first.", { 200: itemsOf(InvocationAnswer) }),
      query(v.strictObject({ namespace: namespaceField, limit: limitField })),
      async (c) => {
        const { namespace, limit } = c.req.valid("query");
        const record = await functions.get(namespace, c.req.param("name"));
        return c.json({ items: await functions.invocations(namespace, { function: record.name, limit }) });
      },
    );
}
