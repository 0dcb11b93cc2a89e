import type { Context } from "hono";
import { Failure } from "../../core/errors.ts";
import { revisionHeader } from "../../functions/route.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { eventFrame } from "./event_stream.ts";
import { type FunctionError, functionErrorOf } from "../../functions/lambda/function_error.ts";
import { dryRun, executedVersion, fact, receive } from "./invoke.ts";
import { logResult } from "./log_tail.ts";

/** The most that one event carries: clients hold each one whole. */
const chunkBytes = 1024 * 1024;

/**
 * `POST /2021-11-15/functions/{name}/response-streaming-invocations`: the answer as it comes, in events.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
 */
export function invokeStreamRoute(parts: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  const { functions } = parts;
  return async (c) => {
    const asked = await receive(c, parts);
    const { type, namespace, name, record, withLog, request } = asked;
    if (type === "DryRun") return await dryRun(functions, asked);
    if (type === "Event") {
      throw new Failure("invalid_argument", "cannot stream the answer of an event: wanted RequestResponse or DryRun", {
        details: { field: "X-Amz-Invocation-Type" },
      });
    }
    let answer: Response | undefined;
    let error: FunctionError | undefined;
    let invocation: string | undefined;
    let revision: string | undefined;
    try {
      answer = await functions.invoke(namespace, name, request);
      invocation = answer.headers.get("x-mayfly-invocation") ?? undefined;
      revision = answer.headers.get(revisionHeader) ?? undefined;
    } catch (thrown) {
      error = functionErrorOf(thrown);
      if (error === undefined) throw thrown;
      invocation = fact(thrown, "invocation");
      revision = fact(thrown, "revision");
    }
    const version = executedVersion(asked, revision);
    const headers = new Headers({
      "x-amz-executed-version": version,
      "content-type": "application/vnd.amazon.eventstream",
    });
    if (invocation !== undefined) {
      headers.set("x-amzn-requestid", invocation);
      headers.set("x-mayfly-invocation", invocation);
    }
    const log = async () => {
      if (!withLog || invocation === undefined) return undefined;
      return logResult(record, version, await functions.invocation(namespace, invocation));
    };
    const events = eventsOf(answer?.body ?? null, error, (thrown) => functionErrorOf(thrown, invocation), log);
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const { done, value } = await events.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await events.return();
      },
    }, { highWaterMark: 0 });
    return new Response(stream, { headers });
  };
}

/** @throws what is none of the function's errors: the connection is cut then. */
async function* eventsOf(
  body: ReadableStream<Uint8Array<ArrayBuffer>> | null,
  known: FunctionError | undefined,
  errorOf: (thrown: unknown) => FunctionError | undefined,
  log: () => Promise<string | undefined>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  let error = known;
  try {
    for await (const part of body ?? []) {
      for (let at = 0; at < part.length; at += chunkBytes) {
        yield eventFrame("PayloadChunk", "application/octet-stream", part.subarray(at, at + chunkBytes));
      }
    }
  } catch (thrown) {
    error = errorOf(thrown);
    if (error === undefined) throw thrown;
  }
  const end = {
    ...(error !== undefined && { ErrorCode: error.errorType, ErrorDetails: JSON.stringify(error) }),
    LogResult: await log(),
  };
  yield eventFrame("InvokeComplete", "application/json", new TextEncoder().encode(JSON.stringify(end)));
}
