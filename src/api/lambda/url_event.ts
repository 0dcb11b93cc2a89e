import * as v from "valibot";

/** A request to a function's URL. */
export interface UrlRequest {
  readonly method: string;
  /** What follows the function in its path, as it was sent. */
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
  readonly headers: Headers;
  readonly address: string;
  readonly body: Uint8Array;
}

/** What is text, and given to functions so. */
const textual =
  /^(?:text\/|application\/(?:json|javascript|xml|x-www-form-urlencoded|[\w.+-]+\+(?:json|xml))\s*(?:;|$))/i;

/**
 * A request as functions behind URLs get it: format 2.0.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-request-payload
 */
export function urlEvent({ method, path, query, headers, address, body }: UrlRequest, now: Date): object {
  const { cookie, ...fields } = Object.fromEntries(headers);
  const rawPath = path === "" ? "/" : path;
  const host = headers.get("host") ?? "";
  const text = textual.test(headers.get("content-type") ?? "") ? textOf(body) : undefined;
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    const before = parameters.get(name);
    parameters.set(name, before === undefined ? value : `${before},${value}`);
  }
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath,
    rawQueryString: query,
    ...(cookie !== undefined && { cookies: cookie.split(/;\s*/) }),
    headers: fields,
    ...(parameters.size > 0 && { queryStringParameters: Object.fromEntries(parameters) }),
    requestContext: {
      accountId: "anonymous",
      apiId: "mayfly",
      domainName: host.replace(/:\d+$/, ""),
      domainPrefix: host.split(".")[0],
      http: {
        method,
        path: rawPath,
        protocol: "HTTP/1.1",
        sourceIp: address,
        userAgent: headers.get("user-agent") ?? "",
      },
      requestId: crypto.randomUUID(),
      routeKey: "$default",
      stage: "$default",
      time: commonLogTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && { body: text ?? base64(body) }),
    isBase64Encoded: body.length > 0 && text === undefined,
  };
}

function textOf(body: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}

function base64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 8192) parts.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
  return btoa(parts.join(""));
}

/** `12/Mar/2026:19:03:58 +0000` */
function commonLogTime(now: Date): string {
  const [, day, month, year, time] = now.toUTCString().split(" ");
  return `${day}/${month}/${year}:${time} +0000`;
}

const scalar = v.union([v.string(), v.number(), v.boolean()]);
const HeadSchema = v.object({
  statusCode: v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.digits(), v.transform(Number))]),
    v.integer(),
    v.minValue(200),
    v.maxValue(599),
  ),
  headers: v.optional(v.nullable(v.record(v.string(), scalar))),
  cookies: v.optional(v.nullable(v.array(v.string()))),
});
const AnswerSchema = v.object({
  ...HeadSchema.entries,
  body: v.optional(v.nullable(v.string())),
  isBase64Encoded: v.optional(v.nullable(v.boolean())),
});

/** What are a server's own to say. */
const connectionFields = ["connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"] as const;

export interface Head {
  readonly status: number;
  readonly headers: Headers;
}

/** The head that a function gives. @throws where it is none. */
export function headOf(given: unknown): Head {
  const { statusCode, headers: fields, cookies } = v.parse(HeadSchema, given);
  const headers = new Headers({ "content-type": "application/json" });
  for (const [name, value] of Object.entries(fields ?? {})) headers.set(name, String(value));
  for (const name of connectionFields) headers.delete(name);
  for (const cookie of cookies ?? []) headers.append("set-cookie", cookie);
  return { status: statusCode, headers };
}

/**
 * What a function has answered, as its URL's caller gets it: a head and a body where it gives a `statusCode`, else what it
 * gives, as it is.
 * @param contentType that of the payload. @throws where it begins to be an answer, and is none.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
 */
export function urlAnswer(payload: Uint8Array<ArrayBuffer>, contentType: string): Head & { readonly body: BodyInit } {
  let given: unknown;
  try {
    given = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    return { status: 200, headers: new Headers({ "content-type": contentType }), body: payload };
  }
  if (typeof given !== "object" || given === null || !("statusCode" in given)) {
    return { status: 200, headers: new Headers({ "content-type": "application/json" }), body: payload };
  }
  const { body, isBase64Encoded } = v.parse(AnswerSchema, given);
  const bytes = isBase64Encoded === true
    ? Uint8Array.from(atob(body ?? ""), (character) => character.charCodeAt(0))
    : body ?? "";
  return { ...headOf(given), body: bytes };
}
