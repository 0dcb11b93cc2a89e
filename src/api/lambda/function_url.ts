import type { Context } from "hono";
import { Failure } from "../../core/errors.ts";
import { GrowingBytes } from "../../core/growing_bytes.ts";
import { requireCaller } from "../../functions/ingress.ts";
import { revisionHeader } from "../../functions/route.ts";
import type { InvocationRequest } from "../../functions/request.ts";
import { collect, readBody } from "../../functions/whole_body.ts";
import { requestOf } from "../fn.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { functionErrorOf, maxPayloadBytes } from "../../functions/lambda/function_error.ts";
import { latestVersion } from "./target.ts";
import { functionUrlPath, urlsOf } from "./url_config.ts";
import { type Head, headOf, urlAnswer, urlEvent } from "./url_event.ts";

/** A streamed answer that begins with its head, and what stands between them. */
const integrated = "application/vnd.awslambda.http-integration-response";
const separatorLength = 8;
const maxHeadBytes = 64 * 1024;
/** What is told of an answer's invocation, and may not be by a function. */
const told = ["x-mayfly-invocation", "x-mayfly-start", revisionHeader] as const;

/**
 * `/lambda-url/{name}/…`, `/lambda-url/{name}@{alias}/…`: a function's URL, where it has one. Its container gets the request
 * as an event, and its answer says status, header fields and body.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
 */
export function functionUrlRoute(
  { functions }: Pick<ApiParts, "functions">,
): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    const { name, namespace, request } = requestOf(c, c.req.raw.url, functionUrlPath);
    const alias = request.headers.get(revisionHeader) ?? undefined;
    const record = await functions.get(namespace, name);
    const url = urlsOf(record)[alias ?? latestVersion];
    if (url === undefined) {
      throw new Failure(
        "not_found",
        `function ${JSON.stringify(name)} has no URL here: CreateFunctionUrlConfig makes one`,
      );
    }
    if (url.AuthType === "AWS_IAM") await requireCaller(record, c.var.identify);
    const body = request.body === null ? new Uint8Array() : await readBody(request.body, maxPayloadBytes, record);
    const event = urlEvent({ ...request, address: request.client?.address ?? "", body }, new Date());
    let answer: Response | undefined;
    try {
      answer = await functions.invoke(namespace, name, asEvent(request, alias, event));
      const { head, rest } = url.InvokeMode === "RESPONSE_STREAM" ? await streamed(answer) : await whole(answer);
      for (const field of told) {
        const value = answer.headers.get(field);
        if (value === null) head.headers.delete(field);
        else head.headers.set(field, value);
      }
      const bare = head.status === 204 || head.status === 205 || head.status === 304;
      return new Response(bare ? null : rest, head);
    } catch (error) {
      const known = error instanceof BadAnswer ? { errorType: "bad answer" } : functionErrorOf(error);
      if (known === undefined) throw error;
      const id = answer?.headers.get("x-mayfly-invocation") ??
        (error instanceof Failure ? error.details?.["invocation"] : undefined);
      const headers = new Headers({ "x-amzn-errortype": known.errorType });
      if (typeof id === "string") {
        headers.set("x-amzn-requestid", id);
        headers.set("x-mayfly-invocation", id);
      }
      return Response.json({ Message: "Internal Server Error" }, { status: 502, headers });
    }
  };
}

/** What a function answers is none of what may be; its caller is not told more. */
class BadAnswer extends Error {}

function asEvent(request: InvocationRequest, alias: string | undefined, event: object): InvocationRequest {
  const payload = new TextEncoder().encode(JSON.stringify(event));
  const headers = new Headers({ "content-type": "application/json", "content-length": String(payload.length) });
  if (alias !== undefined) headers.set(revisionHeader, alias);
  const trace = request.headers.get("x-amzn-trace-id");
  if (trace !== null) headers.set("x-amzn-trace-id", trace);
  return {
    ...request,
    method: "POST",
    path: "",
    query: "",
    headers,
    upgrade: undefined,
    body: new Blob([payload]).stream(),
  };
}

interface Parts {
  readonly head: Head;
  readonly rest: BodyInit | null;
}

async function whole(answer: Response): Promise<Parts> {
  const payload = await collect(answer.body, maxPayloadBytes);
  if (payload === undefined) throw new BadAnswer();
  try {
    const { body, ...head } = urlAnswer(payload, answer.headers.get("content-type") ?? "application/json");
    return { head, rest: body };
  } catch (cause) {
    throw new BadAnswer(undefined, { cause });
  }
}

async function streamed(answer: Response): Promise<Parts> {
  const contentType = answer.headers.get("content-type") ?? "application/octet-stream";
  if (!contentType.startsWith(integrated) || answer.body === null) {
    return { head: { status: 200, headers: new Headers({ "content-type": contentType }) }, rest: answer.body };
  }
  const reader = answer.body.getReader();
  const begin = new GrowingBytes();
  let end = -1;
  while (end < 0) {
    const { done, value } = await reader.read();
    if (done || begin.length + value.length > maxHeadBytes + maxPayloadBytes) throw new BadAnswer();
    begin.push(value);
    end = separatorIn(begin.bytes());
    if (end < 0 && begin.length > maxHeadBytes) {
      await reader.cancel().catch(() => {});
      throw new BadAnswer();
    }
  }
  const bytes = begin.bytes().slice();
  let head: Head;
  try {
    head = headOf(JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))));
  } catch (cause) {
    await reader.cancel().catch(() => {});
    throw new BadAnswer(undefined, { cause });
  }
  let first: Uint8Array<ArrayBuffer> | undefined = bytes.subarray(end + separatorLength);
  const rest = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      if (first !== undefined && first.length > 0) {
        controller.enqueue(first);
        first = undefined;
        return;
      }
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
  return { head, rest };
}

/** Where eight zero bytes begin; -1 for nowhere. */
function separatorIn(bytes: Uint8Array): number {
  let zeros = 0;
  for (let at = 0; at < bytes.length; at++) {
    zeros = bytes[at] === 0 ? zeros + 1 : 0;
    if (zeros === separatorLength) return at - separatorLength + 1;
  }
  return -1;
}
