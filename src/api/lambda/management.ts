import { type Context, Hono, type MiddlewareHandler } from "hono";
import { Failure } from "../../core/errors.ts";
import type { DeployedFunction } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { concurrencyOf } from "./concurrency.ts";
import {
  architectureOf,
  codeOf,
  createInput,
  CreateSchema,
  revisionId,
  tagsOf,
  UpdateCodeSchema,
  UpdateConfigurationSchema,
  withSettings,
} from "./configuration.ts";
import { type Managed, pageOf, requireSame } from "./managed.ts";
import { type LambdaTarget, parseTarget, requireLatest } from "./target.ts";
import { publish, unpublish } from "./versions.ts";

/** `GET /2015-03-31/functions`: those of the namespace `default`, each as its newest revision is. */
export function listRoute(
  { functions }: Pick<ApiParts, "functions">,
  managed: Managed,
): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    await managed.allow(c, "read", { namespace: "default" });
    const all = (await functions.list("default")).toSorted((a, b) => a.name < b.name ? -1 : 1);
    const { page, ...more } = pageOf(c, all, ({ name }) => name);
    return c.json({ Functions: page.map((record) => managed.shown(record, c)), ...more });
  };
}

/**
 * The calls of AWS Lambda's API that make, show, change and remove functions, below `/2015-03-31/functions`.
 * @param admin guards each of them.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html
 */
export function managementRoutes(
  { functions, host }: Pick<ApiParts, "functions" | "host">,
  managed: Managed,
  admin: MiddlewareHandler,
): Hono<ApiEnv> {
  const checkArchitecture = ([wanted]: readonly string[] = []) => {
    const here = architectureOf(host.arch);
    if (wanted === undefined || wanted === here) return;
    throw new Failure("invalid_argument", `cannot run ${wanted}: this machine is ${here}`, {
      details: { field: "Architectures" },
    });
  };
  /** As it is shown; as a version of its own, where that is asked for. */
  const made = async (
    c: Context<ApiEnv>,
    record: DeployedFunction,
    asked: { readonly Publish?: boolean | undefined },
  ) => {
    if (asked.Publish !== true) return managed.shown(record, c);
    const version = await publish(functions, record);
    return managed.shown(version, c, String(version.revision));
  };

  const create = async (c: Context<ApiEnv>) => {
    const asked = parse(CreateSchema, await readJson(c), "cannot create the function");
    const target = parseTarget(asked.FunctionName);
    await managed.allow(c, "deploy", target);
    requireLatest(target, c.req.raw.headers);
    checkArchitecture(asked.Architectures);
    const record = await managed.hold(target, async () => {
      const there = await functions.list(target.namespace);
      if (there.some(({ name }) => name === target.name)) {
        throw new Failure("already_exists", `Function already exist: ${target.name}`);
      }
      return await managed.deploy(target, createInput(asked), c);
    });
    return c.json(await made(c, record, asked), 201);
  };
  const remove = async (c: Context<ApiEnv>) => {
    const target: LambdaTarget = await managed.target(c, "deploy");
    const record = await managed.existing(target, c);
    if (target.qualifier === undefined) await functions.delete(target.namespace, target.name);
    else await unpublish(functions, record, target.qualifier);
    return c.body(null, 204);
  };
  const updateCode = async (c: Context<ApiEnv>) => {
    const asked = parse(UpdateCodeSchema, await readJson(c), "cannot update the function's code");
    checkArchitecture(asked.Architectures);
    if (asked.DryRun === true) {
      const record = await managed.existing(await managed.target(c, "deploy"), c);
      requireSame(asked, revisionId(record));
      return c.json(managed.shown(record, c));
    }
    const record = await managed.change(c, asked, (before) => ({ ...before, image: asked.ImageUri }));
    return c.json(await made(c, record, asked));
  };

  return new Hono<ApiEnv>()
    .post("/", admin, create)
    .get("/:name", admin, async (c) => {
      const target = await managed.target(c, "read");
      const record = await managed.find(target, c);
      const tags = tagsOf(record);
      return c.json({
        Configuration: managed.shown(record, c, target.qualifier),
        Code: codeOf(record),
        ...(Object.keys(tags).length > 0 && { Tags: tags }),
        ...(record.reservedConcurrency > 0 && { Concurrency: concurrencyOf(record) }),
      });
    })
    .get("/:name/configuration", admin, async (c) => {
      const target = await managed.target(c, "read");
      return c.json(managed.shown(await managed.find(target, c), c, target.qualifier));
    })
    .put("/:name/code", admin, updateCode)
    .put("/:name/configuration", admin, async (c) => {
      const asked = parse(UpdateConfigurationSchema, await readJson(c), "cannot update the function's configuration");
      return c.json(managed.shown(await managed.change(c, asked, (before) => withSettings(before, asked)), c));
    })
    .delete("/:name", admin, remove);
}
