import { Hono } from "hono";
import * as v from "valibot";
import { framedAnswer } from "./framed_answer.ts";
import { namespaceField, query, settingsField } from "./input.ts";
import { frameType } from "../core/stdio_frames.ts";
import { FunctionInputSchema } from "../core/function.ts";
import { documented } from "./documented.ts";
import { requireMeans } from "./machine_means.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

/**
 * `/v1/run`: runs a container once. Body → stdin; stdout, stderr and the result come back as frames. The settings are in
 * the query, since the body is the container's stdin.
 */
export function runRoutes({ functions, tasks }: ApiParts) {
  return new Hono<ApiEnv>().post(
    "/",
    documented(
      "Runs a container once: the body is its stdin, frames carry its output and its end.",
      { 200: frameType },
      {
        body: "application/octet-stream",
        jsonQuery: { settings: FunctionInputSchema },
        problems: ["failed_precondition", "unavailable"],
      },
    ),
    query(v.strictObject({ namespace: namespaceField, settings: settingsField })),
    async (c) => {
      const { namespace, settings } = c.req.valid("query");
      requireMeans(await c.var.identify(), settings, "run a container");
      const framed = framedAnswer(c.req.raw);
      let carried: Promise<void> = Promise.resolve();
      const run = await functions.run(namespace, settings, {
        stdin: c.req.raw.body !== null,
        signal: framed.signal,
        attach: (task) => {
          carried = framed.carry({ stdin: task.stdin, ...tasks.output(task) });
          // Read below, unless the start fails, which says why itself.
          carried.catch(() => {});
        },
      });
      return framed.answer(
        Promise.all([run.done, carried]).then(([{ code, oomKilled }]) => ({ code, oomKilled })),
      );
    },
  );
}
