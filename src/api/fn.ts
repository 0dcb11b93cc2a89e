import type { Context } from "hono";
import { NameSchema } from "../core/function.ts";
import { parse } from "../core/parse.ts";
import type { InvocationRequest } from "../functions/request.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

/**
 * `/fn/{name}`, `/fn/{name}.{namespace}` and what is below: any method is one invocation.
 */
export function invokeRoute({ functions, calls }: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const { name, namespace, request } = requestOf(c, c.req.raw.url);
    const prefer = c.req.raw.headers.get("prefer");
    if (prefer === null || !respondAsync.test(prefer)) return await functions.invoke(namespace, name, request);
    return accepted(await calls.accept(namespace, name, request), { "preference-applied": "respond-async" });
  };
}

/** @see https://www.rfc-editor.org/rfc/rfc7240#section-4.1 */
const respondAsync = /(?:^|,)\s*respond-async\s*(?:[;,]|$)/i;

/** `/async/fn/{name}` and what is below: as `/fn/{name}`, accepted for later. */
export function acceptRoute({ calls }: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const { name, namespace, request } = requestOf(c, c.req.raw.url.replace("/async/fn/", "/fn/"));
    return accepted(await calls.accept(namespace, name, request));
  };
}

/** Where the caller may ask how it goes: whoever knows the id. */
function accepted({ id }: { readonly id: string }, headers: Readonly<Record<string, string>> = {}): Response {
  const location = `/async/calls/${id}`;
  return Response.json({ id, status: "queued", url: location, answer: `${location}/answer` }, {
    status: 202,
    headers: { ...headers, location, "x-call-id": id },
  });
}

function requestOf(c: Context<ApiEnv>, url: string) {
  const { name, namespace, ...parts } = splitTarget(url);
  const { method, headers, signal } = c.req.raw;
  const { client, span } = c.var;
  const request: InvocationRequest = { ...parts, method, headers, client, span, signal, body: bodyOf(c.req.raw) };
  return { name, namespace, request };
}

/** A body of no bytes is none: the container's stdin is /dev/null then, and no pipe has to be made. */
function bodyOf(request: Request): InvocationRequest["body"] {
  return request.body === null || request.headers.get("content-length") === "0" ? null : request.body;
}

type Target = Pick<InvocationRequest, "scriptName" | "path" | "query"> & {
  readonly name: string;
  readonly namespace: string;
};

/** Takes a URL of a function apart, as it was sent: nothing is decoded that a function should see. */
export function splitTarget(url: string): Target {
  const begin = url.indexOf("/", url.indexOf("://") + 3);
  const fragment = url.indexOf("#", begin);
  const whole = fragment < 0 ? url.slice(begin) : url.slice(begin, fragment);
  const mark = whole.indexOf("?");
  const pathname = mark < 0 ? whole : whole.slice(0, mark);
  const end = pathname.indexOf("/", "/fn/".length);
  const scriptName = end < 0 ? pathname : pathname.slice(0, end);
  const target = scriptName.slice("/fn/".length);
  const dot = target.indexOf(".");
  const action = `cannot invoke function ${JSON.stringify(target)}`;
  return {
    name: parse(NameSchema, dot < 0 ? target : target.slice(0, dot), action),
    namespace: dot < 0 ? "default" : parse(NameSchema, target.slice(dot + 1), `${action}: namespace`),
    scriptName,
    path: end < 0 ? "" : pathname.slice(end),
    query: mark < 0 ? "" : whole.slice(mark + 1),
  };
}
