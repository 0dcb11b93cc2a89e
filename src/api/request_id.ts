import type { MiddlewareHandler } from "hono";
import { addRateHeaders, type RateState } from "../core/rate.ts";
import type { ApiEnv } from "./observe_requests.ts";

/** What a client may call its request: nothing that means something to a log, a header or a shell. */
const sane = /^[A-Za-z0-9][A-Za-z0-9._:=@/+~-]{0,127}$/;

/**
 * Gives every request an id, the one that it came with where that is sane, so that it can be followed through proxies, logs,
 * spans and functions; the answer tells it. What is left of rates is told there, too.
 */
export function giveRequestId(): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const { headers } = c.req.raw;
    const given = headers.get("x-request-id");
    const id = given !== null && sane.test(given) ? given : crypto.randomUUID();
    if (id !== given) headers.set("x-request-id", id);
    c.set("requestId", id);
    const rates: [policy: string, state: RateState][] = [];
    c.set("onRate", (policy, state) => void rates.push([policy, state]));
    await next();
    // In place: a copy of the answer would be slower, and no part of a file any more.
    c.res.headers.set("x-request-id", id);
    // A refusal tells of the rate that refused.
    if (c.res.status === 429 || rates.length === 0) return;
    // Where there is a rate here, a function tells of none in its place.
    for (const name of ["ratelimit", "ratelimit-policy"]) c.res.headers.delete(name);
    for (const [policy, state] of rates) addRateHeaders(c.res.headers, policy, state);
  };
}
