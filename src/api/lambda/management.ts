import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { requireScope, type Scope } from "../../core/access.ts";
import { codeOf as errorCodeOf, type ErrorCode, Failure, messageOf } from "../../core/errors.ts";
import { type FunctionInput, type FunctionRecord, SettingsSchema } from "../../core/function.ts";
import { KeyedLock } from "../../core/keyed_lock.ts";
import { parse } from "../../core/parse.ts";
import { readJson } from "../input.ts";
import { requireMeans } from "../machine_means.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import {
  architectureOf,
  codeOf,
  configurationOf,
  createInput,
  CreateSchema,
  revisionId,
  tagsOf,
  UpdateCodeSchema,
  UpdateConfigurationSchema,
  withSettings,
} from "./configuration.ts";
import { arnOf, type LambdaTarget, parseTarget, requireLatest } from "./target.ts";

const ListSchema = v.object({
  /** A function of the page before, the last one. */
  Marker: v.optional(v.pipe(v.string(), v.maxLength(128))),
  MaxItems: v.optional(
    v.pipe(v.string(), v.digits("a whole number"), v.transform(Number), v.minValue(1), v.maxValue(10_000)),
    "50",
  ),
});

/** The most that one page of a list has, whatever is asked, as AWS Lambda has it. */
const pageSize = 50;

/** What a registry says of an image that cannot be had is about a parameter. */
const imageCodes: ReadonlySet<ErrorCode> = new Set(["not_found", "permission_denied", "unauthenticated"]);

/**
 * The calls of AWS Lambda's API that make, show, change and remove functions, below `/2015-03-31/functions`.
 * @param admin guards each of them.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html
 */
export function managementRoutes({ functions, host }: ApiParts, admin: MiddlewareHandler): Hono<ApiEnv> {
  // One change at a time, each upon what the one before has made of the function.
  const locks = new KeyedLock();
  const shown = (record: FunctionRecord, c: Context) => configurationOf(record, c.req.raw.headers, host.arch);

  /** The listener has let through who may do such things somewhere. */
  const allow = async (c: Context<ApiEnv>, scope: Scope, { namespace }: Pick<LambdaTarget, "namespace">) => {
    const caller = await c.var.identify();
    requireScope(caller, scope, namespace, `${c.req.method} ${c.req.path}`);
    return caller;
  };
  const existing = async (target: LambdaTarget, headers: Headers): Promise<FunctionRecord> => {
    requireLatest(target, headers);
    try {
      return await functions.get(target.namespace, target.name);
    } catch (error) {
      if (errorCodeOf(error) !== "not_found") throw error;
      throw new Failure("not_found", `Function not found: ${arnOf(target, headers)}`, { cause: error });
    }
  };
  const deploy = async ({ namespace, name }: LambdaTarget, input: FunctionInput, c: Context<ApiEnv>) => {
    try {
      return await functions.deploy(namespace, name, input, { parent: c.var.span });
    } catch (error) {
      if (!imageCodes.has(errorCodeOf(error))) throw error;
      throw new Failure("invalid_argument", `cannot use the image: ${messageOf(error)}`, { cause: error });
    }
  };
  const change = async (c: Context<ApiEnv>, asked: Asked, edit: (before: FunctionInput) => FunctionInput) => {
    const target = targetOf(c);
    const caller = await allow(c, "deploy", target);
    return await locks.hold(`${target.namespace}/${target.name}`, async () => {
      const before = await existing(target, c.req.raw.headers);
      if (asked.RevisionId !== undefined && asked.RevisionId !== revisionId(before)) {
        throw new Failure(
          "aborted",
          "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to " +
            "retrieve the latest Revision Id",
        );
      }
      const settings = parse(SettingsSchema, before, `cannot change function ${JSON.stringify(target.name)}`);
      // What an administrator has given to a function is not another image's to use.
      requireMeans(caller, settings, "change a function");
      return await deploy(target, edit(settings), c);
    });
  };
  const checkArchitecture = ([wanted]: readonly string[] = []) => {
    const here = architectureOf(host.arch);
    if (wanted === undefined || wanted === here) return;
    throw new Failure("invalid_argument", `cannot run ${wanted}: this machine is ${here}`, {
      details: { field: "Architectures" },
    });
  };

  const list = async (c: Context<ApiEnv>) => {
    await allow(c, "read", { namespace: "default" });
    const { Marker, MaxItems } = parse(ListSchema, c.req.query(), "cannot list functions");
    const all = (await functions.list("default")).toSorted((a, b) => a.name < b.name ? -1 : 1);
    const rest = Marker === undefined ? all : all.filter(({ name }) => name > Marker);
    const page = rest.slice(0, Math.min(MaxItems, pageSize));
    const last = page.at(-1)?.name;
    return c.json({
      Functions: page.map((record) => shown(record, c)),
      ...(rest.length > page.length && { NextMarker: last }),
    });
  };
  const find = async (c: Context<ApiEnv>) => {
    const target = targetOf(c);
    await allow(c, "read", target);
    return await existing(target, c.req.raw.headers);
  };
  const create = async (c: Context<ApiEnv>) => {
    const asked = parse(CreateSchema, await readJson(c), "cannot create the function");
    const target = parseTarget(asked.FunctionName);
    await allow(c, "deploy", target);
    requireLatest(target, c.req.raw.headers);
    checkArchitecture(asked.Architectures);
    const record = await locks.hold(`${target.namespace}/${target.name}`, async () => {
      const there = await functions.list(target.namespace);
      if (there.some(({ name }) => name === target.name)) {
        throw new Failure("already_exists", `Function already exist: ${target.name}`);
      }
      return await deploy(target, createInput(asked), c);
    });
    return c.json(shown(record, c), 201);
  };

  return new Hono<ApiEnv>()
    .get("/", admin, list)
    .post("/", admin, create)
    .get("/:name", admin, async (c) => {
      const record = await find(c);
      const tags = tagsOf(record);
      return c.json({
        Configuration: shown(record, c),
        Code: codeOf(record),
        ...(Object.keys(tags).length > 0 && { Tags: tags }),
      });
    })
    .get("/:name/configuration", admin, async (c) => {
      return c.json(shown(await find(c), c));
    })
    .put("/:name/code", admin, async (c) => {
      const asked = parse(UpdateCodeSchema, await readJson(c), "cannot update the function's code");
      checkArchitecture(asked.Architectures);
      return c.json(shown(await change(c, asked, (before) => ({ ...before, image: asked.ImageUri })), c));
    })
    .put("/:name/configuration", admin, async (c) => {
      const asked = parse(UpdateConfigurationSchema, await readJson(c), "cannot update the function's configuration");
      return c.json(shown(await change(c, asked, (before) => withSettings(before, asked)), c));
    })
    .delete("/:name", admin, async (c) => {
      const target = targetOf(c);
      await allow(c, "deploy", target);
      await existing(target, c.req.raw.headers);
      await functions.delete(target.namespace, target.name);
      return c.body(null, 204);
    });
}

interface Asked {
  readonly RevisionId?: string | undefined;
}

function targetOf(c: Context): LambdaTarget {
  return parseTarget(c.req.param("name") ?? "", c.req.query("Qualifier"));
}
