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
  const send = (input: RequestInfo | URL, init?: RequestInit) => fetch(new Request(input, init));
  return encoding(hc<Api>(base, { fetch: send }));
}

/** Hono puts path parameters into the path as they are: here they are encoded, so that a slash in one stays in it. */
function encoding<Node extends object>(node: Node): Node {
  return new Proxy(node, {
    get(target, key, receiver) {
      const value: unknown = Reflect.get(target, key, receiver);
      return isNode(value) ? encoding(value) : value;
    },
    apply(target, self, [options, ...rest]: unknown[]) {
      if (typeof target !== "function") throw new TypeError("this part of the client cannot be called");
      const param = isNode(options) && "param" in options && isNode(options.param) ? options.param : undefined;
      if (param === undefined) return Reflect.apply(target, self, [options, ...rest]);
      const encoded = Object.entries(param).map(([name, value]) => [name, encodeURIComponent(String(value))]);
      return Reflect.apply(target, self, [{ ...options as object, param: Object.fromEntries(encoded) }, ...rest]);
    },
  });
}

function isNode(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
