import { Hono } from "hono";
import * as v from "valibot";
import { namespaceField, query } from "./input.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/tasks`: what runs now. */
export function taskRoutes({ tasks }: ApiParts) {
  return new Hono()
    .get("/", query(v.strictObject({ namespace: namespaceField })), async (c) => {
      return c.json({ items: await tasks.list(c.req.valid("query").namespace) });
    });
}
