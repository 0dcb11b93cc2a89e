import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { codeOf, Failure, messageOf } from "../../core/errors.ts";
import type { DeployedFunction } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { latest, revisionName, revisionNumber } from "../../core/revision.ts";
import { atOnce } from "../../functions/deployment.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { type Managed, pageOf, unknownTarget, versionOf } from "./managed.ts";
import { arnOf, type LambdaTarget, latestVersion } from "./target.ts";

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html */
const PutSchema = v.strictObject({
  ProvisionedConcurrentExecutions: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(1000)),
});

/** The version or the alias that a request is about. */
interface Own {
  readonly target: LambdaTarget;
  readonly record: DeployedFunction;
  /** By what it is provisioned: an alias, or a revision's whole name. */
  readonly key: string;
}

/**
 * `/2019-09-30/functions/{name}/provisioned-concurrency`: containers of a version, or of what an alias means, that are ready
 * before requests come: prepared ones, or instances.
 * @param admin guards each call.
 */
export function provisionedRoutes(
  { functions }: Pick<ApiParts, "functions">,
  managed: Managed,
  admin: MiddlewareHandler,
): Hono<ApiEnv> {
  const shown = (record: DeployedFunction, key: string) => {
    const { namespace, name, traffic: { provisioned = {} } } = record;
    const requested = provisioned[key] ?? 0;
    const revision = versionOf(record, key);
    const ready = revision === undefined ? 0 : Math.min(functions.readyFor(namespace, name, revision), requested);
    return {
      RequestedProvisionedConcurrentExecutions: requested,
      AvailableProvisionedConcurrentExecutions: ready,
      AllocatedProvisionedConcurrentExecutions: ready,
      Status: ready === requested ? "READY" : "IN_PROGRESS",
      LastModified: record.updatedAt.toISOString().replace("Z", "+0000"),
    };
  };
  const own = async (c: Context<ApiEnv>, scope: "read" | "deploy"): Promise<Own> => {
    const target = await managed.target(c, scope);
    const record = await managed.existing(target, c);
    return { target, record, key: keyOf(target, record, c) };
  };
  const existing = async (c: Context<ApiEnv>, scope: "read" | "deploy"): Promise<Own> => {
    const found = await own(c, scope);
    if (found.record.traffic.provisioned?.[found.key] !== undefined) return found;
    throw new Failure("not_found", "No Provisioned Concurrency Config found for this function", {
      details: { lambdaType: "ProvisionedConcurrencyConfigNotFoundException" },
    });
  };
  const provision = async ({ target, key }: Own, count: number): Promise<DeployedFunction> => {
    const { namespace, name } = target;
    try {
      return await functions.rollouts.changeTraffic(namespace, name, { provisioned: { [key]: count } });
    } catch (error) {
      // There is no room for so many: nothing that a client should try again, as it does with what is busy.
      if (codeOf(error) !== "resource_exhausted") throw error;
      throw new Failure("invalid_argument", messageOf(error), { cause: error });
    }
  };
  const put = async (c: Context<ApiEnv>) => {
    const { ProvisionedConcurrentExecutions: count } = parse(
      PutSchema,
      await readJson(c),
      "cannot provision concurrency",
    );
    const asked = await own(c, "deploy");
    const most = atOnce(await managed.find(asked.target, c));
    if (count > most) {
      throw new Failure(
        "invalid_argument",
        `cannot provision concurrency: ${count} is more than the ${most} that run at once: deploy it with more, by ` +
          "maxInstances or concurrency",
        { details: { field: "ProvisionedConcurrentExecutions" } },
      );
    }
    return c.json(shown(await provision(asked, count), asked.key), 202);
  };

  return new Hono<ApiEnv>()
    .put("/:name/provisioned-concurrency", admin, put)
    .get("/:name/provisioned-concurrency", admin, async (c) => {
      if (c.req.query("List") !== "ALL") {
        const { record, key } = await existing(c, "read");
        return c.json(shown(record, key));
      }
      const target = await managed.target(c, "read");
      const record = await managed.existing(target, c);
      const { page, ...more } = pageOf(c, Object.keys(record.traffic.provisioned ?? {}).sort(), (key) => key);
      const configs = page.map((key) => {
        const qualifier = record.traffic.tags[key] === undefined ? String(revisionNumber(record.name, key)) : key;
        return { FunctionArn: arnOf(record, c.req.raw.headers, qualifier), ...shown(record, key) };
      });
      return c.json({ ProvisionedConcurrencyConfigs: configs, ...more });
    })
    .delete("/:name/provisioned-concurrency", admin, async (c) => {
      await provision(await existing(c, "deploy"), 0);
      return c.body(null, 204);
    });
}

/** @throws invalid_argument for the newest, which is another one with each deployment; not_found. */
function keyOf(target: LambdaTarget, record: DeployedFunction, c: Context<ApiEnv>): string {
  const { qualifier } = target;
  const tagged = qualifier === undefined ? latest : record.traffic.tags[qualifier];
  if (qualifier === undefined || tagged === latest) {
    throw new Failure(
      "invalid_argument",
      `cannot provision concurrency of ${latestVersion}: wanted a version, or an alias of one, as Qualifier`,
      { details: { field: "Qualifier" } },
    );
  }
  if (tagged !== undefined) return qualifier;
  const number = revisionNumber(record.name, qualifier);
  const version = number === undefined ? undefined : revisionName(record.name, number);
  if (version !== undefined && Object.hasOwn(record.traffic.published ?? {}, version)) return version;
  throw unknownTarget(target, c);
}
