import type { Context } from "hono";
import { codeOf } from "../../core/errors.ts";
import type { InvocationRequest } from "../../functions/request.ts";
import { problemResponse } from "../errors.ts";
import { requestOf } from "../fn.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";

const callIdForm = /^[\x21-\x7e]{1,128}$/;

/** `/function/{name}`, `/function/{name}.{namespace}` and what is below, with the header fields of OpenFaaS's gateway. */
export function functionRoute({ functions, onError }: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const begin = performance.now();
    const given = c.req.raw.headers.get("x-call-id") ?? "";
    const callId = callIdForm.test(given) ? given : crypto.randomUUID();
    let answer: Response;
    try {
      const { name, namespace, request } = requestOf(c, c.req.raw.url, "/function/");
      answer = await functions.invoke(namespace, name, withCallId(request, callId));
    } catch (error) {
      if (codeOf(error) === "internal") onError(error, "cannot answer a request");
      answer = problemResponse(error);
    }
    answer.headers.set("x-call-id", callId);
    answer.headers.set("x-duration-seconds", ((performance.now() - begin) / 1000).toFixed(6));
    return answer;
  };
}

/**
 * `/async-function/{name}` and what is below: as `/function/{name}`, accepted for later. `X-Callback-Url` is told how it
 * ended. A call has an id of its own, whatever `X-Call-Id` the caller gives.
 */
export function asyncFunctionRoute({ calls }: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const url = c.req.raw.url.replace("/async-function/", "/function/");
    const { name, namespace, request } = requestOf(c, url, "/function/");
    const { id } = await calls.accept(namespace, name, request);
    return new Response(null, { status: 202, headers: { "x-call-id": id, location: `/async/calls/${id}` } });
  };
}

function withCallId(request: InvocationRequest, callId: string): InvocationRequest {
  const headers = new Headers(request.headers);
  headers.set("x-call-id", callId);
  headers.set("x-start-time", `${Date.now()}000000`);
  return { ...request, headers };
}
