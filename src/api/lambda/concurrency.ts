import type { Context } from "hono";
import * as v from "valibot";
import { codeOf, Failure, messageOf } from "../../core/errors.ts";
import type { FunctionInput, FunctionRecord } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import { maxInstances } from "./configuration.ts";
import type { Managed } from "./managed.ts";

/** What a function that reserves nothing runs at once, as others do. */
const unreserved = 64;

/** None at all would switch the function off: `mayfly deploy` with another image, or its removal, does that here. */
const PutSchema = v.strictObject({
  ReservedConcurrentExecutions: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(100_000)),
});

type Route = (c: Context<ApiEnv>) => Promise<Response>;

export function concurrencyOf({ reservedConcurrency }: FunctionRecord) {
  return { ReservedConcurrentExecutions: reservedConcurrency };
}

/**
 * Keeps places for a function, and gives it no more of them.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html
 */
export function putConcurrency(managed: Managed): Route {
  return async (c) => {
    const asked = parse(PutSchema, await readJson(c), "cannot reserve concurrency");
    const count = asked.ReservedConcurrentExecutions;
    try {
      await managed.change(c, {}, (before) => ({ ...before, reservedConcurrency: count, ...atMost(before, count) }));
    } catch (error) {
      // There are not so many: nothing that a client should try again, as it does with what is busy.
      if (codeOf(error) !== "resource_exhausted") throw error;
      throw new Failure("invalid_argument", messageOf(error), { cause: error });
    }
    return c.json(asked);
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionConcurrency.html */
export function deleteConcurrency(managed: Managed): Route {
  return async (c) => {
    await managed.change(c, {}, (before) => ({ ...before, reservedConcurrency: 0, ...atMost(before, undefined) }));
    return c.body(null, 204);
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html */
export function getConcurrency(managed: Managed): Route {
  return async (c) => {
    const record = await managed.existing(await managed.target(c, "read"), c);
    return c.json(record.reservedConcurrency > 0 ? concurrencyOf(record) : {});
  };
}

/** How many run at once, by what a container of it takes. @param count undefined for as many as by default. */
function atMost({ protocol = "stdio" }: FunctionInput, count: number | undefined): Partial<FunctionInput> {
  if (protocol === "stdio") return { concurrency: count ?? unreserved };
  return { maxInstances: count ?? maxInstances };
}
