import { Hono } from "hono";
import * as v from "valibot";
import { may } from "../core/access.ts";
import { Failure } from "../core/errors.ts";
import { NameSchema } from "../core/function.ts";
import { itemsOf, NamespaceAnswer } from "./answers.ts";
import { documented } from "./documented.ts";
import { json } from "./input.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/namespaces` */
export function namespaceRoutes({ calls, namespaces, tasks, tokens }: ApiParts) {
  return new Hono<ApiEnv>()
    .get(
      "/",
      documented("Lists the namespaces that the caller may read.", { 200: itemsOf(NamespaceAnswer) }, {
        problems: ["unavailable"],
      }),
      async (c) => {
        const caller = await c.var.identify();
        return c.json({ items: (await namespaces.list()).filter(({ name }) => may(caller, "read", name)) });
      },
    )
    .post(
      "/",
      documented("Creates a namespace; one that is there stays as it is.", { 200: NamespaceAnswer }, {
        problems: ["unavailable"],
      }),
      json(v.strictObject({ name: NameSchema })),
      async (c) => c.json(await namespaces.ensure(c.req.valid("json").name)),
    )
    .delete(
      "/:name",
      documented("Removes a namespace that has nothing in it any more.", { 204: null }, {
        problems: ["not_found", "failed_precondition", "unavailable"],
      }),
      async (c) => {
        const name = c.req.param("name");
        // Their users are the namespace's, and the next one's when it is gone.
        if ((await tasks.list(name)).length > 0) {
          throw new Failure(
            "failed_precondition",
            `cannot delete namespace ${JSON.stringify(name)}: something runs in it: wait, or stop it first`,
          );
        }
        const there = await namespaces.delete(name);
        tokens.forget(name);
        await calls.purge(name);
        if (there) return c.body(null, 204);
        throw new Failure("not_found", `cannot delete namespace ${JSON.stringify(name)}: there is none of this name`);
      },
    );
}
