import { Hono } from "hono";
import * as v from "valibot";
import { TrafficChangeSchema, TrafficSchema } from "../core/revision.ts";
import { FunctionAnswer, itemsOf, RevisionAnswer, TrafficAnswer } from "./answers.ts";
import { documented } from "./documented.ts";
import { json, namespaceField, query } from "./input.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const problems = { problems: ["not_found", "failed_precondition", "resource_exhausted", "unavailable"] } as const;

/** `/v1/functions/{name}/revisions`, `traffic`, `rollback` */
export function revisionRoutes({ functions }: ApiParts) {
  return new Hono()
    .get(
      "/:name/revisions",
      documented("Lists the revisions of a function that are kept, the newest first.", {
        200: itemsOf(RevisionAnswer),
      }),
      scope,
      async (c) => {
        return c.json({ items: await functions.revisions(c.req.valid("query").namespace, c.req.param("name")) });
      },
    )
    .get(
      "/:name/traffic",
      documented("Says which revisions of a function answer.", { 200: TrafficAnswer }),
      scope,
      async (c) => c.json((await functions.get(c.req.valid("query").namespace, c.req.param("name"))).traffic),
    )
    .put(
      "/:name/traffic",
      documented("Says which revisions of a function answer, by weight and by tag.", { 200: FunctionAnswer }, problems),
      scope,
      json(TrafficSchema),
      async (c) => {
        const { namespace } = c.req.valid("query");
        return c.json(await functions.rollouts.setTraffic(namespace, c.req.param("name"), c.req.valid("json")));
      },
    )
    .patch(
      "/:name/traffic",
      documented("Changes which revisions of a function answer: the split, where it is given, and the tags that are.", {
        200: FunctionAnswer,
      }, problems),
      scope,
      json(TrafficChangeSchema),
      async (c) => {
        const { namespace } = c.req.valid("query");
        return c.json(await functions.rollouts.changeTraffic(namespace, c.req.param("name"), c.req.valid("json")));
      },
    )
    .post(
      "/:name/rollback",
      documented("Gives all traffic of a function to an earlier revision, by default to the one before.", {
        200: FunctionAnswer,
      }, problems),
      scope,
      json(v.strictObject({ to: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(80))) })),
      async (c) => {
        const { namespace } = c.req.valid("query");
        return c.json(await functions.rollouts.rollback(namespace, c.req.param("name"), c.req.valid("json").to));
      },
    );
}
