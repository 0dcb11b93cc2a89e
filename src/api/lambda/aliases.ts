import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { Failure } from "../../core/errors.ts";
import type { DeployedFunction } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { latest, revisionName, revisionNumber, TagSchema, type TrafficChange } from "../../core/revision.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { type Managed, pageOf, requireSame, unknownTarget, versionOf } from "./managed.ts";
import { arnOf, type LambdaTarget, latestVersion } from "./target.ts";
import { publishedNumbers } from "./versions.ts";

const fields = {
  Description: v.optional(v.pipe(v.string(), v.maxLength(256))),
  RoutingConfig: v.optional(v.nullable(v.strictObject({
    /** Which part of the requests another version gets: 0.1 is a tenth. */
    AdditionalVersionWeights: v.optional(v.pipe(
      v.record(v.pipe(v.string(), v.digits("a version's number")), v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
      v.maxEntries(1),
    )),
  }))),
};
const VersionSchema = v.pipe(v.string(), v.regex(/^(?:\$LATEST|\d{1,9})$/, "$LATEST or a version's number"));

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html */
const CreateSchema = v.strictObject({ ...fields, Name: TagSchema, FunctionVersion: VersionSchema });

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_UpdateAlias.html */
const UpdateSchema = v.strictObject({
  ...fields,
  FunctionVersion: v.optional(VersionSchema),
  RevisionId: v.optional(v.string()),
});

/** What an alias is to be. */
interface Alias {
  readonly name: string;
  readonly version: string;
  readonly weights: Readonly<Record<string, number>>;
  readonly description: string;
}

/**
 * `/2015-03-31/functions/{name}/aliases`: an alias is a tag, of which another revision may have a share.
 * @param admin guards each call.
 */
export function aliasRoutes(
  { functions }: Pick<ApiParts, "functions">,
  managed: Managed,
  admin: MiddlewareHandler,
): Hono<ApiEnv> {
  const put = async (
    c: Context<ApiEnv>,
    target: LambdaTarget,
    decide: (record: DeployedFunction) => Alias | Promise<Alias>,
  ) => {
    return await managed.hold(target, async () => {
      const alias = await decide(await managed.existing(target, c));
      const record = await functions.rollouts.changeTraffic(
        target.namespace,
        target.name,
        (before) => changeOf(before, alias, c),
      );
      return await shown(record, alias.name, c);
    });
  };
  const find = async (c: Context<ApiEnv>) => {
    const target = await managed.target(c, "read");
    const name = c.req.param("alias") ?? "";
    const record = await managed.existing(target, c);
    if (!Object.hasOwn(record.traffic.tags, name)) throw unknownAlias(target, name, c);
    return await shown(record, name, c);
  };
  const create = async (c: Context<ApiEnv>) => {
    const asked = parse(CreateSchema, await readJson(c), "cannot create the alias");
    const target = await managed.target(c, "deploy");
    const alias = await put(c, target, (record) => {
      if (Object.hasOwn(record.traffic.tags, asked.Name)) {
        const arn = arnOf(target, c.req.raw.headers, asked.Name);
        throw new Failure("already_exists", `Alias already exists: ${arn}`);
      }
      return {
        name: asked.Name,
        version: asked.FunctionVersion,
        weights: asked.RoutingConfig?.AdditionalVersionWeights ?? {},
        description: asked.Description ?? "",
      };
    });
    return c.json(alias, 201);
  };
  const update = async (c: Context<ApiEnv>) => {
    const asked = parse(UpdateSchema, await readJson(c), "cannot update the alias");
    const target = await managed.target(c, "deploy");
    const name = c.req.param("alias") ?? "";
    const alias = await put(c, target, async (record) => {
      if (!Object.hasOwn(record.traffic.tags, name)) throw unknownAlias(target, name, c);
      const before = await shown(record, name, c);
      requireSame(asked, before.RevisionId);
      return {
        name,
        version: asked.FunctionVersion ?? before.FunctionVersion,
        weights: asked.RoutingConfig === undefined
          ? before.RoutingConfig?.AdditionalVersionWeights ?? {}
          : asked.RoutingConfig?.AdditionalVersionWeights ?? {},
        description: asked.Description ?? before.Description,
      };
    });
    return c.json(alias);
  };

  return new Hono<ApiEnv>()
    .post("/:name/aliases", admin, create)
    .get("/:name/aliases", admin, async (c) => {
      const target = await managed.target(c, "read");
      const record = await managed.existing(target, c);
      const names = Object.keys(record.traffic.tags).sort();
      const all = await Promise.all(names.map((name) => shown(record, name, c)));
      const wanted = c.req.query("FunctionVersion");
      const fitting = all.filter(({ FunctionVersion }) => wanted === undefined || FunctionVersion === wanted);
      const { page, ...more } = pageOf(c, fitting, ({ Name }) => Name);
      return c.json({ Aliases: page, ...more });
    })
    .get("/:name/aliases/:alias", admin, async (c) => c.json(await find(c)))
    .put("/:name/aliases/:alias", admin, update)
    .delete("/:name/aliases/:alias", admin, async (c) => {
      const target = await managed.target(c, "deploy");
      const record = await managed.existing(target, c);
      const name = c.req.param("alias");
      // One that is not there is removed already: AWS Lambda has no exception for it.
      if (Object.hasOwn(record.traffic.tags, name)) {
        await functions.rollouts.changeTraffic(target.namespace, target.name, { tags: { [name]: null } });
      }
      return c.body(null, 204);
    });
}

/** @throws not_found for what is no version; invalid_argument for what cannot be shared. */
function changeOf(record: DeployedFunction, alias: Alias, c: Context<ApiEnv>): TrafficChange {
  const { name, version, weights, description } = alias;
  const published = new Set(publishedNumbers(record));
  const tagged = versionOf(record, name);
  const revisionOf = (text: string) => {
    if (text === latestVersion) return latest;
    const number = Number(text);
    // One that was tagged without having been published stays.
    if (published.has(number) || number === tagged) return revisionName(record.name, number);
    throw unknownTarget({ ...record, qualifier: text }, c);
  };
  if (version === latestVersion && record.traffic.provisioned?.[name] !== undefined) {
    throw new Failure(
      "invalid_argument",
      `cannot point the alias at ${latestVersion}: it has provisioned concurrency, which wants a version`,
      { details: { field: "FunctionVersion" } },
    );
  }
  const others = Object.entries(weights).filter(([, weight]) => weight > 0);
  const wrong = (what: string) =>
    new Failure("invalid_argument", `cannot route the alias: ${what}`, { details: { field: "RoutingConfig" } });
  const shares = others.map(([other, weight]) => {
    if (version === latestVersion) throw wrong(`${latestVersion} shares an alias with no other version`);
    if (other === version) throw wrong(`version ${other} is the alias's own`);
    const percent = Math.round(weight * 100);
    if (Math.abs(percent - weight * 100) > 1e-6) throw wrong(`${weight} is no whole percent`);
    return [revisionOf(other), percent];
  });
  return {
    tags: { [name]: revisionOf(version) },
    ...(shares.length > 0 && { shares: { [name]: Object.fromEntries(shares) } }),
    notes: { [name]: description },
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_AliasConfiguration.html */
async function shown(record: DeployedFunction, name: string, c: Context<ApiEnv>) {
  const { tags, shares = {}, notes = {} } = record.traffic;
  const target = tags[name] ?? latest;
  const weights = Object.entries(shares[name] ?? {}).map((
    [revision, percent],
  ) => [String(revisionNumber(record.name, revision)), percent / 100]);
  const alias = {
    AliasArn: arnOf(record, c.req.raw.headers, name),
    Name: name,
    FunctionVersion: target === latest ? latestVersion : String(revisionNumber(record.name, target)),
    Description: notes[name] ?? "",
    ...(weights.length > 0 && {
      RoutingConfig: { AdditionalVersionWeights: Object.fromEntries(weights) as Record<string, number> },
    }),
  };
  const { AliasArn: _, ...what } = alias;
  return { ...alias, RevisionId: await fingerprint(JSON.stringify(what)) };
}

/** Changes with what it is of. */
async function fingerprint(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unknownAlias(target: LambdaTarget, name: string, c: Context<ApiEnv>): Failure {
  return new Failure("not_found", `Cannot find alias arn: ${arnOf(target, c.req.raw.headers, name)}`);
}
