import type { Context } from "hono";
import { Failure } from "../core/errors.ts";
import { NameSchema } from "../core/function.ts";
import { parse } from "../core/parse.ts";
import { eventMode, eventsOf } from "../functions/cloud_events.ts";
import type { InvocationRequest } from "../functions/request.ts";
import { revisionHeader } from "../functions/route.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";

/**
 * `/fn/{name}`, `/fn/{name}.{namespace}`, `/fn/{name}@{tag}` and what is below: any method is one invocation.
 */
export function invokeRoute({ functions, calls }: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const { name, namespace, mount, request } = requestOf(c, c.req.raw.url);
    const { headers } = c.req.raw;
    const prefer = headers.get("prefer");
    const later = prefer !== null && respondAsync.test(prefer);
    const mode = eventMode(headers);
    if (mode === "batch" && !later) throw batchAtOnce(name);
    if (later) {
      const made = await calls.acceptAll(namespace, name, await eventsOf(request));
      return accepted(made, mode === "batch", mount, { "preference-applied": "respond-async" });
    }
    if (mode === undefined) return await functions.invoke(namespace, name, request);
    const [event = request] = await eventsOf(request);
    return await functions.invoke(namespace, name, event);
  };
}

/** @see https://www.rfc-editor.org/rfc/rfc7240#section-4.1 */
const respondAsync = /(?:^|,)\s*respond-async\s*(?:[;,]|$)/i;

/** `/async/fn/{name}` and what is below: as `/fn/{name}`, accepted for later. */
export function acceptRoute({ calls }: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const { name, namespace, mount, request } = requestOf(c, c.req.raw.url.replace("/async/fn/", "/fn/"));
    const made = await calls.acceptAll(namespace, name, await eventsOf(request));
    return accepted(made, eventMode(c.req.raw.headers) === "batch", mount);
  };
}

/** Where the caller may ask how it goes: whoever knows the ids. A batch is answered as one, whatever its length. */
function accepted(
  calls: readonly { readonly id: string }[],
  batch: boolean,
  mount: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const items = calls.map(({ id }) => {
    const url = `${mount}/async/calls/${id}`;
    return { id, status: "queued", url, answer: `${url}/answer` };
  });
  const [first] = items;
  if (batch || first === undefined) return Response.json({ items }, { status: 202, headers });
  return Response.json(first, { status: 202, headers: { ...headers, location: first.url, "x-call-id": first.id } });
}

function batchAtOnce(name: string): Failure {
  return new Failure(
    "invalid_argument",
    `cannot invoke function ${JSON.stringify(name)} with a batch of events and answer it: ` +
      "send it to /async/fn, or with Prefer: respond-async",
  );
}

/**
 * A request to a function.
 * @param url its whole address, with `prefix` before the function's name. @param prefix default `/fn/`.
 */
export function requestOf(c: Context<ApiEnv>, url: string, prefix?: string) {
  const above = segmentsAbove(c.req.routePath);
  const { name, namespace, mount, revision, ...parts } = splitTarget(url, { above, prefix });
  const { method, signal } = c.req.raw;
  const headers = withRevision(withoutOwn(c.req.raw.headers), revision);
  const { client, identify, span } = c.var;
  const request: InvocationRequest = {
    ...parts,
    method,
    headers,
    client,
    identify,
    secure: c.req.raw.url.startsWith("https:"),
    onRate: (state) => c.var.onRate("function", state),
    span,
    signal,
    upgrade: c.env?.connection?.upgrade,
    body: bodyOf(c.req.raw),
  };
  return { name, namespace, mount, request };
}

/** Without what this daemon alone says to functions: a caller could pass for its clock. What revision is meant, callers say. */
export function withoutOwn(given: Headers): Headers {
  const own = [...given.keys()].filter((name) => name.startsWith("x-mayfly-") && name !== revisionHeader);
  if (own.length === 0) return given;
  const headers = new Headers(given);
  for (const name of own) headers.delete(name);
  return headers;
}

/** What a path asks for as the header does. */
export function withRevision(given: Headers, revision: string | undefined): Headers {
  if (revision === undefined) return given;
  const headers = new Headers(given);
  headers.set(revisionHeader, revision);
  return headers;
}

/** How many segments of a path stand before those of the API: `/jobs/fn/:target` has one. */
function segmentsAbove(routePath: string): number {
  const at = routePath.search(/(?:\/async)?\/fn\/:target/);
  return at <= 0 ? 0 : routePath.slice(0, at).split("/").length - 1;
}

/** A body of no bytes is none: the container's stdin is /dev/null then, and no pipe has to be made. */
function bodyOf(request: Request): InvocationRequest["body"] {
  // Node's host makes a whole `Request` to tell that a GET has none.
  if (request.method === "GET" && !request.headers.has("content-length") && !request.headers.has("transfer-encoding")) {
    return null;
  }
  return request.body === null || request.headers.get("content-length") === "0" ? null : request.body;
}

type Target = Pick<InvocationRequest, "scriptName" | "path" | "query"> & {
  readonly name: string;
  readonly namespace: string;
  /** What stands before `/fn`: empty, or `/jobs` in a server where the API is mounted there. */
  readonly mount: string;
  /** The tag or revision that is asked for: `blue` of `/fn/upper@blue`. */
  readonly revision?: string;
};

/**
 * Takes a URL of a function apart, as it was sent: nothing is decoded that a function should see.
 * @param options.above how many segments stand before the prefix. Default 0.
 * @param options.prefix default `/fn/`.
 */
export function splitTarget(
  url: string,
  { above = 0, prefix = "/fn/" }: { readonly above?: number; readonly prefix?: string | undefined } = {},
): Target {
  const begin = url.indexOf("/", url.indexOf("://") + 3);
  const fragment = url.indexOf("#", begin);
  const whole = fragment < 0 ? url.slice(begin) : url.slice(begin, fragment);
  const mark = whole.indexOf("?");
  const pathname = mark < 0 ? whole : whole.slice(0, mark);
  let base = 0;
  for (let i = 0; i < above; i++) base = pathname.indexOf("/", base + 1);
  const end = pathname.indexOf("/", base + prefix.length);
  const scriptName = end < 0 ? pathname : pathname.slice(0, end);
  const [target = "", revision] = scriptName.slice(base + prefix.length).split("@", 2);
  const dot = target.indexOf(".");
  const action = `cannot invoke function ${JSON.stringify(target)}`;
  return {
    name: parse(NameSchema, dot < 0 ? target : target.slice(0, dot), action),
    namespace: dot < 0 ? "default" : parse(NameSchema, target.slice(dot + 1), `${action}: namespace`),
    mount: pathname.slice(0, base),
    scriptName,
    path: end < 0 ? "" : pathname.slice(end),
    query: mark < 0 ? "" : whole.slice(mark + 1),
    ...(revision !== undefined && { revision }),
  };
}
