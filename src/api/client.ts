import { hc } from "hono/client";
import type { Api } from "./app.ts";

/** The admin API's routes as functions; their parameters and answers have the types of the routes themselves. */
export type Client = ReturnType<typeof createClient>;

/**
 * A typed client of the admin API: `import { createClient } from "mayfly/client"`.
 * @param fetch sends a request to the daemon: `Host.fetchUnix` with its socket, or `fetch` itself.
 * @param base the address in the requests; over a Unix socket only their Host header shows it.
 * @example
 * ```ts
 * const client = createClient((request) => host.fetchUnix("/run/mayfly/mayfly.sock", request));
 * const { items } = await (await client.v1.functions.$get({ query: {} })).json();
 * ```
 */
export function createClient(fetch: (request: Request) => Promise<Response>, base = "http://mayfly") {
  return hc<Api>(base, { fetch: (input: RequestInfo | URL, init?: RequestInit) => fetch(new Request(input, init)) });
}
