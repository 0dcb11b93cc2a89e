import type { Context, Env, MiddlewareHandler } from "hono";
import * as v from "valibot";
import { Failure, messageOf } from "../core/errors.ts";
import { NameSchema } from "../core/function.ts";
import { GrowingBytes } from "../core/growing_bytes.ts";
import { parse } from "../core/parse.ts";
import { withDescription } from "./documented.ts";

/** The most that a JSON body of the admin API may have. */
const maxJsonBytes = 1024 * 1024;

/** The namespace that a request is about. */
export const namespaceField = v.optional(NameSchema, "default");

/** `?limit=` of lists. */
export const limitField = v.optional(
  v.pipe(v.string(), v.digits("a whole number"), v.transform(Number), v.minValue(1), v.maxValue(1000)),
  "100",
);

/** `?name=true` */
export const flagField = v.optional(
  v.pipe(v.picklist(["true", "false"]), v.transform((text) => text === "true")),
  "false",
);

/** A whole number in the query. */
export const countField = (max = Number.MAX_SAFE_INTEGER) =>
  v.pipe(v.string(), v.digits("a whole number"), v.transform(Number), v.maxValue(max));

/** A field that may be given up to 64 times. */
export const textsField = (maxLength: number) => {
  const text = v.pipe(v.string(), v.minLength(1), v.maxLength(maxLength));
  return v.optional(
    v.pipe(
      v.union([v.pipe(v.array(text), v.maxLength(64)), text]),
      v.transform((given): readonly string[] => typeof given === "string" ? [given] : given),
    ),
    [],
  );
};

/** Settings in the query, as JSON, where the body is something else. */
export const settingsField = v.pipe(v.string(), v.maxLength(256 * 1024), v.parseJson());

/** `?label=name` or `?label=name=value`: all of them have to fit. */
export const labelsField = textsField(4096);

/** `?signal=TERM`, `SIGTERM` or `15` */
export const signalField = v.optional(v.pipe(v.string(), v.maxLength(16)));

/** Parses the query; a field that the schema does not know is refused. */
export function query<Schema extends v.GenericSchema<object, object>>(
  schema: Schema,
): MiddlewareHandler<Env, string, { in: { query: v.InferInput<Schema> }; out: { query: v.InferOutput<Schema> } }> {
  return withDescription((c, next) => {
    const given = Object.entries(c.req.queries()).map((
      [name, values],
    ) => [name, values.length > 1 ? values : values[0]]);
    c.req.addValidatedData("query", parse(schema, Object.fromEntries(given), "cannot read the query") as object);
    return next();
  }, { query: schema });
}

/** Parses a JSON body of up to 1 MiB. */
export function json<Schema extends v.GenericSchema<object, object>>(
  schema: Schema,
): MiddlewareHandler<Env, string, { in: { json: v.InferInput<Schema> }; out: { json: v.InferOutput<Schema> } }> {
  return withDescription(async (c, next) => {
    c.req.addValidatedData("json", parse(schema, await readJson(c), "cannot read the body") as object);
    return await next();
  }, { json: schema });
}

/** Reads a JSON body. @throws invalid_argument for no JSON; resource_exhausted (reason `body_too_large`) over 1 MiB. */
export async function readJson(c: Context): Promise<unknown> {
  const body = await readBytes(c, maxJsonBytes);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    throw new Failure("invalid_argument", `cannot read the body: it is no JSON: ${messageOf(cause)}`, { cause });
  }
}

/** Reads a whole body. @throws resource_exhausted (reason `body_too_large`) over the limit. */
export async function readBytes(c: Context, limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const body = new GrowingBytes();
  for await (const chunk of c.req.raw.body ?? []) {
    if (body.length + chunk.length > limitBytes) {
      throw new Failure("resource_exhausted", `cannot read the body: it has more than ${limitBytes} bytes`, {
        details: { reason: "body_too_large", limitBytes },
      });
    }
    body.push(chunk);
  }
  return body.bytes();
}
