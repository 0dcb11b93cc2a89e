import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { Failure, messageOf } from "../../core/errors.ts";
import type { FunctionInput, FunctionRecord } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { revisionHeader } from "../../functions/route.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import type { Managed } from "./managed.ts";
import { arnOf, type LambdaTarget, latestVersion, parseTarget } from "./target.ts";

/** Says that a function has a configuration, and since when. */
const changedNote = "aws.lambda/event-invoke-config";

const whole = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));

/** Whom to tell; of AWS's destinations there are functions here. */
const DestinationSchema = v.optional(v.strictObject({
  Destination: v.optional(v.pipe(
    v.string(),
    v.maxLength(350),
    v.regex(/^$|^arn:[a-z-]+:lambda:/, "the ARN of a function; to have a server told, send X-Callback-Url with a call"),
  )),
}));

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html */
const ConfigSchema = v.strictObject({
  MaximumRetryAttempts: v.optional(v.nullable(whole(0, 99))),
  MaximumEventAgeInSeconds: v.optional(v.nullable(whole(60, 30 * 24 * 3600))),
  DestinationConfig: v.optional(v.nullable(v.strictObject({
    OnSuccess: DestinationSchema,
    OnFailure: DestinationSchema,
  }))),
});
type Config = v.InferOutput<typeof ConfigSchema>;

/**
 * `/2019-09-25/functions/{name}/event-invoke-config`: how often, and for how long, an asynchronous call is tried, and which
 * functions are told how it has ended.
 * @param admin guards each call.
 */
export function eventInvokeRoutes(
  { functions }: Pick<ApiParts, "functions">,
  managed: Managed,
  admin: MiddlewareHandler,
): Hono<ApiEnv> {
  const existing = async (c: Context<ApiEnv>) => {
    const target = await managed.target(c, "read");
    requireWhole(target);
    const record = await managed.existing(target, c);
    if (record.annotations[changedNote] !== undefined) return record;
    throw new Failure(
      "not_found",
      `The function ${arnOf(record, c.req.raw.headers, latestVersion)} doesn't have an EventInvokeConfig`,
    );
  };
  /** @throws invalid_argument for what is no function of the same namespace. */
  const requireDestination = async (c: Context<ApiEnv>, arn: string, { namespace }: LambdaTarget) => {
    const to = parseTarget(arn);
    try {
      if (to.namespace !== namespace) throw new Error("it is in another namespace");
      const headers = new Headers(to.qualifier === undefined ? {} : { [revisionHeader]: to.qualifier });
      await functions.answering(namespace, to.name, { headers, identify: c.var.identify });
    } catch (error) {
      throw new Failure("invalid_argument", `cannot tell ${arn} of calls: ${messageOf(error)}`, {
        cause: error,
        details: { field: "Destination" },
      });
    }
  };
  const change = async (c: Context<ApiEnv>, edit: (before: FunctionInput, asked: Config) => FunctionInput) => {
    const target = await managed.target(c, "deploy");
    requireWhole(target);
    const asked = parse(ConfigSchema, await readJson(c), "cannot configure asynchronous calls");
    for (const { Destination } of Object.values(asked.DestinationConfig ?? {})) {
      if (Destination) await requireDestination(c, Destination, target);
    }
    const noted = (before: FunctionInput) => ({
      ...before,
      annotations: { ...before.annotations, [changedNote]: new Date().toISOString() },
    });
    return c.json(shown(await managed.change(c, {}, (before) => noted(edit(before, asked))), c));
  };
  return new Hono<ApiEnv>()
    .get("/:name/event-invoke-config", admin, async (c) => c.json(shown(await existing(c), c)))
    .get("/:name/event-invoke-config/list", admin, async (c) => {
      const { namespace, name } = await managed.target(c, "read");
      const record = await functions.get(namespace, name);
      const has = record.annotations[changedNote] !== undefined;
      return c.json({ FunctionEventInvokeConfigs: has ? [shown(record, c)] : [] });
    })
    .put("/:name/event-invoke-config", admin, (c) => change(c, (before, asked) => configured(cleared(before), asked)))
    .post("/:name/event-invoke-config", admin, async (c) => {
      await existing(c);
      return await change(c, configured);
    })
    .delete("/:name/event-invoke-config", admin, async (c) => {
      await existing(c);
      await managed.change(c, {}, cleared);
      return c.body(null, 204);
    });
}

/** @throws invalid_argument: a version or an alias has none of its own here. */
function requireWhole({ qualifier }: LambdaTarget): void {
  if (qualifier === undefined) return;
  throw new Failure(
    "invalid_argument",
    `cannot configure asynchronous calls of ${JSON.stringify(qualifier)} alone: wanted ${latestVersion}`,
    { details: { field: "Qualifier" } },
  );
}

function configured(
  { asyncOnSuccess, asyncOnFailure, ...before }: FunctionInput,
  { MaximumRetryAttempts, MaximumEventAgeInSeconds, DestinationConfig }: Config,
): FunctionInput {
  const { OnSuccess, OnFailure } = DestinationConfig ?? {};
  const success = OnSuccess === undefined ? asyncOnSuccess : destinationOf(OnSuccess);
  const failure = OnFailure === undefined ? asyncOnFailure : destinationOf(OnFailure);
  return {
    ...before,
    ...(success !== undefined && { asyncOnSuccess: success }),
    ...(failure !== undefined && { asyncOnFailure: failure }),
    ...(MaximumRetryAttempts != null && { asyncAttempts: MaximumRetryAttempts + 1 }),
    ...(MaximumEventAgeInSeconds != null && { asyncMaxAgeMs: MaximumEventAgeInSeconds * 1000 }),
  };
}

/** An ARN as a function's settings have it. */
function destinationOf({ Destination }: { readonly Destination?: string | undefined }): string | undefined {
  if (!Destination) return undefined;
  const { name, qualifier } = parseTarget(Destination);
  return qualifier === undefined ? name : `${name}@${qualifier}`;
}

/** As a function is that nobody has configured. */
function cleared(configured: FunctionInput): FunctionInput {
  const { asyncAttempts: _, asyncMaxAgeMs: __, asyncOnSuccess: ___, asyncOnFailure: ____, ...before } = configured;
  const annotations = Object.entries(before.annotations ?? {}).filter(([name]) => name !== changedNote);
  return { ...before, annotations: Object.fromEntries(annotations) };
}

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_FunctionEventInvokeConfig.html */
function shown(record: FunctionRecord, c: Context<ApiEnv>) {
  const destination = (setting: string | undefined) => {
    if (setting === undefined) return {};
    const [name = "", qualifier] = setting.split("@");
    return { Destination: arnOf({ namespace: record.namespace, name }, c.req.raw.headers, qualifier) };
  };
  return {
    FunctionArn: arnOf(record, c.req.raw.headers, latestVersion),
    LastModified: new Date(record.annotations[changedNote] ?? record.createdAt).getTime() / 1000,
    MaximumRetryAttempts: record.asyncAttempts - 1,
    MaximumEventAgeInSeconds: Math.floor(record.asyncMaxAgeMs / 1000),
    DestinationConfig: {
      OnSuccess: destination(record.asyncOnSuccess),
      OnFailure: destination(record.asyncOnFailure),
    },
  };
}
