import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { headerLimits } from "./cgi.ts";
import type { InvocationRequest } from "./request.ts";
import { readBody } from "./whole_body.ts";

/*
 * CloudEvents 1.0 over HTTP. A function gets every event in the binary mode, however it was sent: its data as the body, its
 * attributes as header fields, HTTP_CE_TYPE and so on for a function that reads its environment.
 *
 * @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
 * @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
 */

/** How large a body with events may be, and how many may be in it. */
export const eventLimits = { bytes: 4 * 1024 * 1024, count: 1000, bodyTimeoutMs: 30_000 } as const;

const action = "cannot read the CloudEvent";

const NonEmpty = v.pipe(v.string(), v.nonEmpty("at least one character"), v.maxLength(8192, "at most 8192 characters"));
const ExtensionSchema = v.union([
  v.pipe(v.string(), v.maxLength(8192, "at most 8192 characters")),
  v.boolean(),
  v.pipe(v.number(), v.safeInteger("an integer")),
  v.null(),
], "text, a boolean or an integer");
const EventSchema = v.objectWithRest({
  specversion: v.literal("1.0", '"1.0"'),
  id: NonEmpty,
  source: NonEmpty,
  type: NonEmpty,
  subject: v.nullish(NonEmpty),
  time: v.nullish(v.pipe(v.string(), v.isoTimestamp("a time of RFC 3339"))),
  dataschema: v.nullish(NonEmpty),
  datacontenttype: v.nullish(v.pipe(v.string(), v.regex(/^[\x20-\x7e]{1,256}$/, "a media type"))),
  data: v.optional(v.unknown()),
  data_base64: v.nullish(v.pipe(v.string(), v.base64("base64"))),
}, ExtensionSchema);
type Event = v.InferOutput<typeof EventSchema>;

const notAttributes: ReadonlySet<string> = new Set(["data", "data_base64", "datacontenttype"]);

/** Whether a request carries events, and how. */
export function eventMode(headers: Headers): "binary" | "structured" | "batch" | undefined {
  const type = (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase();
  if (type === "application/cloudevents-batch+json") return "batch";
  if (type?.startsWith("application/cloudevents")) return "structured";
  return headers.has("ce-specversion") ? "binary" : undefined;
}

/**
 * Takes a request's events apart, one request each.
 * @throws invalid_argument naming the attribute; what a body does that is too large or slow.
 */
export async function eventsOf(request: InvocationRequest): Promise<readonly InvocationRequest[]> {
  const { headers } = request;
  const mode = eventMode(headers);
  if (mode === undefined) return [request];
  if (mode === "binary") {
    const attributes = [...headers].filter(([name]) => name.startsWith("ce-"));
    parse(EventSchema, Object.fromEntries(attributes.map(([name, text]) => [name.slice(3), text])), action);
    return [request];
  }
  const type = headers.get("content-type") ?? "";
  const form = mode === "batch" ? "application/cloudevents-batch+json" : "application/cloudevents+json";
  if (!type.toLowerCase().startsWith(form)) {
    throw new Failure(
      "invalid_argument",
      `${action}: its format is ${JSON.stringify(type.slice(0, 100))}: want ${form}`,
    );
  }
  const value = request.body === null
    ? undefined
    : parseJson(await readBody(request.body, eventLimits.bytes, eventLimits));
  const events = mode === "batch"
    ? parse(
      v.pipe(v.array(EventSchema), v.maxLength(eventLimits.count, `at most ${eventLimits.count} events`)),
      value,
      action,
    )
    : [parse(EventSchema, value, action)];
  return events.map((event) => inBinary(event, request));
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new Failure("invalid_argument", `${action}: its body is no JSON in UTF-8`, { cause });
  }
}

function inBinary(event: Event, request: InvocationRequest): InvocationRequest {
  const attributes = Object.entries(event).filter(([name, value]) => !notAttributes.has(name) && value != null);
  if (attributes.length > headerLimits.count / 2) {
    throw new Failure(
      "invalid_argument",
      `${action}: it has ${attributes.length} attributes: want ${headerLimits.count / 2}`,
    );
  }
  const headers = new Headers(request.headers);
  for (const name of [...headers.keys()]) if (name.startsWith("ce-")) headers.delete(name);
  for (const [name, value] of attributes) {
    if (!/^[a-z0-9]{1,64}$/.test(name)) {
      const shown = JSON.stringify(name.slice(0, 64));
      throw new Failure(
        "invalid_argument",
        `${action}: attribute ${shown}: want a name of lower-case letters and digits`,
      );
    }
    headers.set(`ce-${name}`, encodeValue(String(value)));
  }
  const { data, contentType } = dataOf(event);
  headers.delete("content-type");
  if (contentType !== undefined) headers.set("content-type", contentType);
  headers.delete("transfer-encoding");
  headers.set("content-length", String(data?.length ?? 0));
  return { ...request, headers, body: data === undefined || data.length === 0 ? null : new Blob([data]).stream() };
}

function dataOf(
  { data, data_base64: base64, datacontenttype: type }: Event,
): { readonly data?: Uint8Array<ArrayBuffer>; readonly contentType?: string } {
  if (base64 != null) {
    if (data !== undefined) throw new Failure("invalid_argument", `${action}: it has data and data_base64: want one`);
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return { data: bytes, ...(type != null && { contentType: type }) };
  }
  if (data === undefined) return type == null ? {} : { contentType: type };
  const contentType = type ?? "application/json";
  // Text is text, unless its type says that it is JSON.
  const text = typeof data === "string" && !/^[^;]*[/+]json\s*(;|$)/i.test(contentType) ? data : jsonOf(data);
  return { data: new TextEncoder().encode(text), contentType };
}

/** @throws invalid_argument: what can be read may be nested too deeply to be written. */
function jsonOf(data: unknown): string {
  try {
    return JSON.stringify(data);
  } catch (cause) {
    throw new Failure("invalid_argument", `${action}: its data is nested too deeply`, { cause });
  }
}

/** As header fields carry it. @see the HTTP binding, 3.1.3.2 */
function encodeValue(text: string): string {
  return text.replace(
    /[^\x21-\x7e]|["%]/gu,
    (character) =>
      [...new TextEncoder().encode(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
        .join(""),
  );
}
