import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { Failure } from "../../core/errors.ts";
import {
  type DeployedFunction,
  type FunctionInput,
  functionUrlsAnnotation,
  OriginSchema,
} from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import { type Managed, pageOf, unknownTarget } from "./managed.ts";
import { arnOf, type LambdaTarget, latestVersion } from "./target.ts";

/** Where functions' URLs begin. */
export const functionUrlPath = "/lambda-url/";

const names = v.optional(v.pipe(v.array(v.pipe(v.string(), v.regex(/^[\w!#$%&'*+.^`|~-]{1,256}$/))), v.maxLength(100)));
const CorsSchema = v.strictObject({
  AllowCredentials: v.optional(v.boolean()),
  AllowHeaders: names,
  AllowMethods: names,
  AllowOrigins: v.optional(v.pipe(v.array(OriginSchema), v.maxLength(64))),
  ExposeHeaders: names,
  /** Seconds. */
  MaxAge: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(86_400))),
});
const fields = {
  Cors: v.optional(v.nullable(CorsSchema)),
  /** `RESPONSE_STREAM`: answers go as they come. */
  InvokeMode: v.optional(v.picklist(["BUFFERED", "RESPONSE_STREAM"])),
};
const AuthType = v.picklist(["NONE", "AWS_IAM"]);

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunctionUrlConfig.html */
const CreateSchema = v.strictObject({ ...fields, AuthType });
const UpdateSchema = v.strictObject({ ...fields, AuthType: v.optional(AuthType) });

const UrlSchema = v.object({ ...fields, AuthType, created: v.string(), changed: v.string() });
/** What is kept of a function's URL. */
export type FunctionUrl = v.InferOutput<typeof UrlSchema>;

const UrlsSchema = v.record(v.string(), UrlSchema);
type Urls = Readonly<Record<string, FunctionUrl>>;

/** The function that a request is about, and whose the request is. */
type Own = Awaited<ReturnType<Managed["target"]>>;

/** The URLs of a function, by the aliases that they are of; that of the function itself by `$LATEST`. */
export function urlsOf({ annotations = {} }: Pick<FunctionInput, "annotations">): Urls {
  const text = annotations[functionUrlsAnnotation];
  // Whoever deploys may write what they like there.
  const found = text === undefined ? undefined : v.safeParse(v.pipe(v.string(), v.parseJson(), UrlsSchema), text);
  return found?.success === true ? found.output : {};
}

/** `/2021-10-31/functions/{name}/url` and `urls` @param admin guards each call. */
export function urlConfigRoutes(managed: Managed, admin: MiddlewareHandler): Hono<ApiEnv> {
  /** The URL that a request is about, with the function. */
  const find = async (c: Context<ApiEnv>, scope: "read" | "deploy" = "read") => {
    const target = await managed.target(c, scope);
    const record = await managed.existing(target, c);
    const url = urlsOf(record)[target.qualifier ?? latestVersion];
    if (url !== undefined) return { target, record, url };
    throw new Failure(
      "not_found",
      `The resource you requested does not exist: ${arnOf(target, c.req.raw.headers, target.qualifier)} has no URL`,
    );
  };
  const change = async (c: Context<ApiEnv>, target: Own, edit: (before: Urls) => Urls) => {
    return await managed.change(c, {}, (before) => ({
      ...before,
      annotations: { ...before.annotations, [functionUrlsAnnotation]: JSON.stringify(edit(urlsOf(before))) },
    }), target);
  };
  const create = async (c: Context<ApiEnv>) => {
    const asked = parse(CreateSchema, await readJson(c), "cannot make a URL");
    const target = await managed.target(c, "deploy");
    const { qualifier } = target;
    const found = await managed.existing(target, c);
    if (qualifier !== undefined && !Object.hasOwn(found.traffic.tags, qualifier)) throw unknownTarget(target, c);
    requireOpen(found, asked.AuthType);
    const now = new Date().toISOString();
    const record = await change(c, target, (before) => {
      if (Object.hasOwn(before, qualifier ?? latestVersion)) {
        const arn = arnOf(target, c.req.raw.headers, qualifier);
        throw new Failure(
          "already_exists",
          `Failed to create function url config for [functionArn = ${arn}]: it has one`,
        );
      }
      return { ...before, [qualifier ?? latestVersion]: { ...asked, created: now, changed: now } };
    });
    return c.json(shown(record, target, c), 201);
  };
  const update = async (c: Context<ApiEnv>) => {
    const asked = parse(UpdateSchema, await readJson(c), "cannot change the URL");
    const { target, record, url } = await find(c, "deploy");
    const next = { ...url, ...asked, changed: new Date().toISOString() };
    requireOpen(record, next.AuthType);
    const changed = await change(c, target, (before) => ({ ...before, [target.qualifier ?? latestVersion]: next }));
    return c.json(shown(changed, target, c));
  };

  return new Hono<ApiEnv>()
    .post("/:name/url", admin, create)
    .put("/:name/url", admin, update)
    .get("/:name/url", admin, async (c) => {
      const { record, target } = await find(c);
      return c.json(shown(record, target, c));
    })
    .delete("/:name/url", admin, async (c) => {
      const { target } = await find(c, "deploy");
      const own = target.qualifier ?? latestVersion;
      await change(c, target, (before) => Object.fromEntries(Object.entries(before).filter(([name]) => name !== own)));
      return c.body(null, 204);
    })
    .get("/:name/urls", admin, async (c) => {
      const target = await managed.target(c, "read");
      const record = await managed.existing(target, c);
      const { page, ...more } = pageOf(c, Object.keys(urlsOf(record)).sort(), (name) => name);
      const of = (name: string) => ({ ...target, qualifier: name === latestVersion ? undefined : name });
      return c.json({ FunctionUrlConfigs: page.map((name) => shown(record, of(name), c)), ...more });
    });
}

/** @throws invalid_argument for a URL open to all of a function that wants a token from everybody. */
function requireOpen(record: DeployedFunction, type: FunctionUrl["AuthType"]): void {
  if (type !== "NONE" || record.auth === "none") return;
  throw new Failure(
    "invalid_argument",
    `cannot let everybody call function ${JSON.stringify(record.name)}: it wants a token, as AuthType AWS_IAM does`,
    { details: { field: "AuthType" } },
  );
}

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_FunctionUrlConfig.html */
function shown(record: DeployedFunction, target: LambdaTarget, c: Context<ApiEnv>) {
  const url = urlsOf(record)[target.qualifier ?? latestVersion];
  if (url === undefined) throw new Error("the URL is gone");
  const { created, changed, AuthType, Cors, InvokeMode = "BUFFERED" } = url;
  const own = target.namespace === "default" ? target.name : `${target.name}.${target.namespace}`;
  const alias = target.qualifier === undefined ? "" : `@${target.qualifier}`;
  return {
    FunctionUrl: `${new URL(c.req.raw.url).origin}${functionUrlPath}${own}${alias}/`,
    FunctionArn: arnOf(target, c.req.raw.headers, target.qualifier),
    AuthType,
    InvokeMode,
    ...(Cors != null && { Cors }),
    CreationTime: created,
    LastModifiedTime: changed,
  };
}
