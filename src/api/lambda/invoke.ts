import type { Context } from "hono";
import * as v from "valibot";
import { Failure, messageOf } from "../../core/errors.ts";
import type { FunctionRecord } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { revisionName, revisionNumber } from "../../core/revision.ts";
import type { Functions } from "../../functions/functions.ts";
import { requireCaller } from "../../functions/ingress.ts";
import type { InvocationRequest } from "../../functions/request.ts";
import { revisionHeader } from "../../functions/route.ts";
import { collect, readBody } from "../../functions/whole_body.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { invalidContent } from "./errors.ts";
import {
  type FunctionError,
  functionErrorOf,
  maxPayloadBytes,
  responseTooLarge,
} from "../../functions/lambda/function_error.ts";
import { logResult } from "./log_tail.ts";
import { latestVersion, parseTarget } from "./target.ts";

const AskedSchema = v.object({
  "X-Amz-Invocation-Type": v.optional(v.picklist(["RequestResponse", "Event", "DryRun"]), "RequestResponse"),
  "X-Amz-Log-Type": v.optional(v.picklist(["None", "Tail"]), "None"),
});

/** What a client has signed its request with: nothing for a function to see. */
const signature = ["authorization", "x-amz-security-token", "x-amz-date", "x-amz-content-sha256"] as const;

/** What a client asks of a function. */
export interface Asked {
  readonly type: "RequestResponse" | "Event" | "DryRun";
  readonly namespace: string;
  readonly name: string;
  readonly qualifier: string | undefined;
  readonly record: FunctionRecord;
  /** Whether the end of its log is wanted. */
  readonly withLog: boolean;
  readonly request: InvocationRequest;
}

/** Reads a request to invoke, with all of its payload. @throws what is wrong with it. */
export async function receive(c: Context<ApiEnv>, { functions }: Pick<ApiParts, "functions">): Promise<Asked> {
  const { headers, body } = c.req.raw;
  const given = Object.fromEntries(
    Object.keys(AskedSchema.entries).map((name) => [name, headers.get(name) ?? undefined]),
  );
  const fields = parse(AskedSchema, given, "cannot invoke the function");
  const { namespace, name, qualifier } = parseTarget(c.req.param("name") ?? "", c.req.query("Qualifier"));
  const record = await functions.get(namespace, name);
  if (record.auth !== "none") await requireCaller(record, c.var.identify);
  const limit = Math.min(maxPayloadBytes, record.maxBodyBytes || Infinity);
  const payload = body === null ? new Uint8Array() : await readBody(body, limit, record);
  checkJson(payload);
  const request = requestOf(c, payload);
  if (qualifier !== undefined) request.headers.set(revisionHeader, qualifier);
  const withLog = fields["X-Amz-Log-Type"] === "Tail";
  return { type: fields["X-Amz-Invocation-Type"], namespace, name, qualifier, record, withLog, request };
}

/** Which version has answered: the number of the revision, where a version or an alias was asked for. */
export function executedVersion({ name, qualifier }: Asked, revision: string | undefined): string {
  if (qualifier === undefined) return latestVersion;
  return String((revision && revisionNumber(name, revision)) ?? qualifier);
}

/** Says of an invocation that is only tried which version would answer it. @throws not_found where there is none. */
export async function dryRun(functions: Functions, asked: Asked): Promise<Response> {
  const { namespace, name, request } = asked;
  const { revision } = await functions.answering(namespace, name, request);
  const headers = { "x-amz-executed-version": executedVersion(asked, revisionName(name, revision)) };
  return new Response(null, { status: 204, headers });
}

/**
 * `POST /2015-03-31/functions/{name}/invocations`
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
 */
export function invokeRoute(parts: ApiParts): (c: Context<ApiEnv>) => Promise<Response> {
  const { functions, calls } = parts;
  return async (c) => {
    const asked = await receive(c, parts);
    const { type, namespace, name, record, request } = asked;
    if (type === "DryRun") return await dryRun(functions, asked);
    if (type === "Event") {
      const { id } = await calls.accept(namespace, name, request);
      // Which version runs it is decided when it runs.
      return new Response(null, { status: 202, headers: { "x-amzn-requestid": id, "x-call-id": id } });
    }
    const outcome = await invoke(() => functions.invoke(namespace, name, request));
    const { invocation } = outcome;
    const version = executedVersion(asked, outcome.revision);
    const headers = new Headers({ "x-amz-executed-version": version, ...outcome.headers });
    if (invocation !== undefined) {
      headers.set("x-amzn-requestid", invocation);
      headers.set("x-mayfly-invocation", invocation);
      if (asked.withLog) {
        const ran = await functions.invocation(namespace, invocation);
        headers.set("x-amz-log-result", logResult(record, version, ran));
      }
    }
    return new Response(outcome.payload, { headers });
  };
}

/** No payload is a payload: the function gets none. @throws invalid_argument as InvalidRequestContentException. */
function checkJson(payload: Uint8Array): void {
  if (payload.length === 0) return;
  try {
    JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (error) {
    throw invalidContent(`Could not parse request body into json: ${messageOf(error)}`);
  }
}

function requestOf(c: Context<ApiEnv>, payload: Uint8Array<ArrayBuffer>): InvocationRequest {
  const headers = new Headers(c.req.raw.headers);
  for (const name of signature) headers.delete(name);
  headers.set("content-length", String(payload.length));
  headers.set("content-type", "application/json");
  return {
    method: "POST",
    scriptName: c.req.path,
    path: "",
    query: "",
    headers,
    client: c.var.client,
    identify: c.var.identify,
    onRate: (state) => c.var.onRate("function", state),
    span: c.var.span,
    signal: c.req.raw.signal,
    body: payload.length === 0 ? null : new Blob([payload]).stream(),
  };
}

interface Outcome {
  readonly invocation: string | undefined;
  /** The name of the revision that has answered. */
  readonly revision: string | undefined;
  readonly payload: Uint8Array<ArrayBuffer> | string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Runs it to its end: only then is it known whether the head has to say that the function has failed. */
async function invoke(run: () => Promise<Response>): Promise<Outcome> {
  let invocation: string | undefined;
  let revision: string | undefined;
  try {
    const answer = await run();
    invocation = answer.headers.get("x-mayfly-invocation") ?? undefined;
    revision = answer.headers.get(revisionHeader) ?? undefined;
    const payload = await collect(answer.body, maxPayloadBytes);
    if (payload === undefined) return failed({ invocation, revision }, responseTooLarge());
    return {
      invocation,
      revision,
      payload,
      headers: { "content-type": answer.headers.get("content-type") ?? "application/json" },
    };
  } catch (error) {
    const known = functionErrorOf(error, invocation);
    if (known === undefined) throw error;
    return failed({
      invocation: invocation ?? fact(error, "invocation"),
      revision: revision ?? fact(error, "revision"),
    }, known);
  }
}

function failed(of: Pick<Outcome, "invocation" | "revision">, error: FunctionError): Outcome {
  return {
    ...of,
    payload: JSON.stringify(error),
    headers: { "content-type": "application/json", "x-amz-function-error": "Unhandled" },
  };
}

/** What an error tells of its invocation. */
export function fact(error: unknown, name: "invocation" | "revision"): string | undefined {
  const value = error instanceof Failure ? error.details?.[name] : undefined;
  return typeof value === "string" ? value : undefined;
}
