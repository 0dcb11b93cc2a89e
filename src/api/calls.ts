import { type Context, Hono } from "hono";
import * as v from "valibot";
import { callStatuses } from "../core/call.ts";
import { passOverEnded } from "../core/errors.ts";
import { NameSchema } from "../core/function.ts";
import { requireCaller } from "../functions/ingress.ts";
import { CallAnswer, itemsOf } from "./answers.ts";
import { documented } from "./documented.ts";
import { limitField, namespaceField, query } from "./input.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));

/** `/v1/calls`: the queue of asynchronous calls, and those that have ended. */
export function callRoutes({ calls }: ApiParts) {
  return new Hono()
    .get(
      "/",
      documented("Lists asynchronous calls, the newest first; those that failed are dead letters.", {
        200: itemsOf(CallAnswer),
      }),
      query(v.strictObject({
        namespace: namespaceField,
        function: v.optional(NameSchema),
        status: v.optional(v.picklist(callStatuses)),
        limit: limitField,
      })),
      async (c) => {
        const { namespace, ...options } = c.req.valid("query");
        return c.json({ items: await calls.list(namespace, options) });
      },
    )
    .get("/:id", documented("Shows an asynchronous call.", { 200: CallAnswer }), scope, async (c) => {
      return c.json(await calls.get(c.req.param("id"), c.req.valid("query").namespace));
    })
    .post(
      "/:id/replay",
      documented("Queues a call that has failed again.", { 200: CallAnswer }, { problems: ["failed_precondition"] }),
      scope,
      async (c) => c.json(await calls.replay(c.req.valid("query").namespace, c.req.param("id"))),
    )
    .delete(
      "/:id",
      documented("Forgets a call that does not run.", { 204: null }, { problems: ["failed_precondition"] }),
      scope,
      async (c) => {
        await calls.delete(c.req.valid("query").namespace, c.req.param("id"));
        return c.body(null, 204);
      },
    );
}

/** `/async/calls/{id}`: what whoever has made a call may ask, by its id alone. */
export function ownCallRoutes({ calls, functions }: ApiParts) {
  /** A call of a function that wants a token wants one, too. */
  const check = async (c: Context<ApiEnv, "/:id">) => {
    const id = c.req.param("id");
    const call = await calls.get(id);
    const record = await functions.get(call.namespace, call.function).catch(passOverEnded);
    if (record?.auth !== "token") return id;
    await requireCaller(record, c.var.identify);
    return id;
  };
  return new Hono<ApiEnv>()
    .get("/:id", documented("Says how an asynchronous call stands.", { 200: CallAnswer }), async (c) => {
      return c.json(await calls.get(await check(c)));
    })
    .get(
      "/:id/answer",
      documented("Gives a call's answer; 202 while there is none.", {
        200: "application/octet-stream",
        202: CallAnswer,
      }, { problems: ["internal"] }),
      async (c) => {
        const answer = await calls.answer(await check(c));
        if (!("body" in answer)) return c.json(answer, 202, { "retry-after": "1" });
        return c.body(answer.body, 200, { "content-type": answer.contentType });
      },
    );
}
