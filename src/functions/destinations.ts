import type { AcceptedCall, Call, CallOutcome } from "../core/call.ts";
import type { FunctionRecord } from "../core/function.ts";
import { Failure } from "../core/errors.ts";
import { latest, revisionNumber } from "../core/revision.ts";
import { functionArn } from "./lambda/arn.ts";
import { functionErrorOf } from "./lambda/function_error.ts";
import { revisionHeader } from "./route.ts";

/** How many calls may follow from one another: functions may name each other in a circle. */
const mostHops = 16;

/** An asynchronous call that has ended. */
export interface EndedCall {
  readonly asked: AcceptedCall;
  readonly call: Call;
  readonly outcome: Exclude<CallOutcome, { readonly status: "queued" }>;
  /** What its last attempt has thrown. */
  readonly error: unknown;
  /** The name of the revision that has answered. */
  readonly revision: string | undefined;
  /** Its function's settings. */
  readonly record: FunctionRecord;
}

/**
 * The call that tells another function how one has ended: its body is a record as AWS Lambda's destinations get it.
 * @param options.id the new call's. @param options.maxBytes the most that the record may have: a larger one goes without what
 * was asked and answered.
 * @returns undefined where nobody is to be told.
 * @throws failed_precondition where too many calls have followed from one another.
 */
export function destinationCall(
  ended: EndedCall,
  { id, now, maxBytes }: { readonly id: string; readonly now: Date; readonly maxBytes: number },
): AcceptedCall | undefined {
  const { asked, outcome, record } = ended;
  const destination = outcome.status === "succeeded" ? record.asyncOnSuccess : record.asyncOnFailure;
  if (destination === undefined) return undefined;
  const hops = (asked.request.hops ?? 0) + 1;
  if (hops > mostHops) {
    throw new Failure(
      "failed_precondition",
      `function ${JSON.stringify(destination)} is not told: ${mostHops} calls have followed from one another already`,
    );
  }
  const [name = "", revision] = destination.split("@");
  const told = invocationRecord(ended, now);
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const whole = encode(told);
  const body = whole.length <= maxBytes ? whole : encode({ ...told, requestPayload: null, responsePayload: null });
  const trace = asked.request.headers.filter(([field]) => field === "traceparent");
  const headers: [string, string][] = [["content-type", "application/json"], ...trace];
  if (revision !== undefined) headers.push([revisionHeader, revision]);
  const path = asked.namespace === "default" ? name : `${name}.${asked.namespace}`;
  return {
    id,
    namespace: asked.namespace,
    function: name,
    createdAt: now,
    request: { method: "POST", scriptName: `/fn/${path}`, path: "", query: "", headers, hops },
    body,
    callback: undefined,
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html */
function invocationRecord({ asked, call, outcome, error, revision, record }: EndedCall, now: Date) {
  const qualifier = qualifierOf(asked);
  const version = revision === undefined ? undefined : revisionNumber(call.function, revision);
  const failure = error === undefined ? undefined : functionErrorOf(error, call.id);
  return {
    version: "1.0",
    timestamp: now.toISOString(),
    requestContext: {
      requestId: call.id,
      functionArn: `${functionArn(record, record.env["AWS_REGION"])}:${qualifier}`,
      condition: conditionOf(call, outcome, record),
      approximateInvokeCount: call.attempts,
    },
    requestPayload: payloadOf(asked.body),
    responseContext: {
      statusCode: 200,
      executedVersion: qualifier === newest ? newest : String(version ?? qualifier),
      ...(outcome.status === "failed" && { functionError: "Unhandled" }),
    },
    responsePayload: outcome.status === "succeeded"
      ? payloadOf(outcome.answer.body)
      : failure ?? { errorMessage: outcome.error },
  };
}

const newest = "$LATEST";

/** The version or the alias that a call was for. */
function qualifierOf({ function: name, request }: AcceptedCall): string {
  const [, asked] = request.headers.find(([field]) => field === revisionHeader) ?? [];
  return asked === undefined || asked === latest ? newest : String(revisionNumber(name, asked) ?? asked);
}

function conditionOf(call: Call, outcome: EndedCall["outcome"], { asyncAttempts, asyncMaxAgeMs }: FunctionRecord) {
  if (outcome.status === "succeeded") return "Success";
  const old = Date.now() - call.createdAt.getTime() >= asyncMaxAgeMs;
  return old && call.attempts < asyncAttempts ? "EventAgeExceeded" : "RetriesExhausted";
}

/** What was sent: JSON as it is, other text as text; null for nothing, and for what is no text. */
function payloadOf(body: Uint8Array | undefined): unknown {
  if (body === undefined || body.length === 0) return null;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    return null;
  }
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
