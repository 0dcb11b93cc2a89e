import { Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { Failure } from "../../core/errors.ts";
import {
  type DeployedFunction,
  type FunctionRecord,
  type FunctionSettings,
  SettingsSchema,
} from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { revisionName, revisionNumber } from "../../core/revision.ts";
import type { Functions } from "../../functions/functions.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { codeSha256, revisionId } from "./configuration.ts";
import { type Managed, pageOf, requireSame } from "./managed.ts";
import { requireLatest } from "./target.ts";

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html */
const PublishSchema = v.strictObject({
  CodeSha256: v.optional(v.string()),
  Description: v.optional(v.pipe(v.string(), v.maxLength(256)), ""),
  RevisionId: v.optional(v.string()),
});

/** What AWS Lambda has once for a function, and no version of it as its own. */
const ofTheFunction = [
  "labels",
  "annotations",
  "reservedConcurrency",
  "asyncAttempts",
  "asyncMaxAgeMs",
  "asyncOnSuccess",
  "asyncOnFailure",
  "schedules",
  "follow",
] as const satisfies readonly (keyof FunctionSettings)[];

/**
 * Publishes a function's newest revision as a version, whose number is the revision's: it is kept then, and may be asked for.
 * Where nothing of it has changed since the last one was, that one is it.
 * @throws not_found; as `Rollouts.changeTraffic`.
 */
export async function publish(
  functions: Functions,
  record: DeployedFunction,
  description = "",
): Promise<FunctionRecord> {
  const { namespace, name } = record;
  const last = await lastPublished(functions, record);
  if (last !== undefined && whatRuns(last) === whatRuns(record)) return last;
  const published = revisionName(name, record.revision);
  await functions.rollouts.changeTraffic(namespace, name, ({ traffic }) => ({
    published: { ...traffic.published, [published]: description },
  }));
  return record;
}

async function lastPublished(functions: Functions, record: DeployedFunction): Promise<FunctionRecord | undefined> {
  const numbers = publishedNumbers(record);
  if (numbers.length === 0) return undefined;
  const kept = await functions.revisions(record.namespace, record.name);
  return kept.find(({ revision }) => revision === numbers.at(-1));
}

/** In their order. */
export function publishedNumbers({ name, traffic }: DeployedFunction): readonly number[] {
  const numbers = Object.keys(traffic.published ?? {}).map((revision) => revisionNumber(name, revision) ?? 0);
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

function whatRuns(record: FunctionRecord): string {
  const settings: Record<string, unknown> = parse(SettingsSchema, record, "cannot compare versions");
  for (const field of ofTheFunction) delete settings[field];
  return JSON.stringify([record.digest, Object.entries(settings).sort(([a], [b]) => a < b ? -1 : 1)]);
}

/** @throws failed_precondition as ResourceConflictException while an alias has it; invalid_argument for what is no version. */
export async function unpublish(functions: Functions, record: DeployedFunction, qualifier: string): Promise<void> {
  const { namespace, name } = record;
  const number = revisionNumber(name, qualifier);
  if (number === undefined) {
    throw new Failure("invalid_argument", "$LATEST version cannot be deleted without deleting the function.");
  }
  const version = revisionName(name, number);
  await functions.rollouts.changeTraffic(namespace, name, ({ traffic: { tags, shares = {}, published = {} } }) => {
    const users = Object.keys(tags).filter((tag) => tags[tag] === version || Object.hasOwn(shares[tag] ?? {}, version));
    if (users.length > 0) {
      throw new Failure("already_exists", `Version ${number} is used by an alias: ${users.join(", ")}`);
    }
    return { published: Object.fromEntries(Object.entries(published).filter(([revision]) => revision !== version)) };
  });
}

/** `/2015-03-31/functions/{name}/versions` @param admin guards each call. */
export function versionRoutes(
  { functions }: Pick<ApiParts, "functions">,
  managed: Managed,
  admin: MiddlewareHandler,
): Hono<ApiEnv> {
  return new Hono<ApiEnv>()
    .post("/:name/versions", admin, async (c) => {
      const asked = parse(PublishSchema, await readJson(c), "cannot publish a version");
      const target = await managed.target(c, "deploy");
      requireLatest(target, c.req.raw.headers);
      const version = await managed.hold(target, async () => {
        const record = await managed.existing(target, c);
        requireSame(asked, revisionId(record));
        const sha = codeSha256(record);
        if (asked.CodeSha256 !== undefined && asked.CodeSha256 !== sha) {
          throw new Failure(
            "invalid_argument",
            `CodeSHA256 (${
              asked.CodeSha256.slice(0, 100)
            }) is different from current CodeSHA256 in $LATEST (${sha}). ` +
              "Please try again with the CodeSHA256 in $LATEST.",
          );
        }
        return await publish(functions, record, asked.Description);
      });
      const { traffic } = await managed.existing(target, c);
      const note = traffic.published?.[revisionName(target.name, version.revision)];
      return c.json(managed.shown(version, c, String(version.revision), note), 201);
    })
    .get("/:name/versions", admin, async (c) => {
      const target = await managed.target(c, "read");
      const record = await managed.existing(target, c);
      const numbers = new Set(publishedNumbers(record));
      const versions = (await managed.revisions(target)).filter(({ revision }) => numbers.has(revision)).reverse();
      const all = [
        managed.shown(record, c),
        ...versions.map((version) => {
          const note = record.traffic.published?.[revisionName(record.name, version.revision)];
          return managed.shown(version, c, String(version.revision), note);
        }),
      ];
      const { page, ...more } = pageOf(c, all, ({ Version }) => Version);
      return c.json({ Versions: page, ...more });
    });
}
