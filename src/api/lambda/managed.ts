import type { Context } from "hono";
import * as v from "valibot";
import { type Caller, requireScope, type Scope } from "../../core/access.ts";
import { codeOf as errorCodeOf, type ErrorCode, Failure, messageOf } from "../../core/errors.ts";
import { type DeployedFunction, type FunctionInput, type FunctionRecord, SettingsSchema } from "../../core/function.ts";
import { KeyedLock } from "../../core/keyed_lock.ts";
import { parse } from "../../core/parse.ts";
import { latest, type RevisionInfo, revisionNumber } from "../../core/revision.ts";
import { requireMeans } from "../machine_means.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { configurationOf, revisionId } from "./configuration.ts";
import { arnOf, type LambdaTarget, parseTarget, requireLatest } from "./target.ts";

/** What a registry says of an image that cannot be had is about a parameter. */
const imageCodes: ReadonlySet<ErrorCode> = new Set(["not_found", "permission_denied", "unauthenticated"]);

/** What a change may be bound to: a function, or an alias, as it was. */
interface Bound {
  readonly RevisionId?: string | undefined;
}

/** Functions, as AWS Lambda's API shows and changes them. */
export class Managed {
  readonly #parts: Pick<ApiParts, "functions" | "host">;
  /** One change at a time, each upon what the one before has made of the function. */
  readonly #locks = new KeyedLock();

  constructor(parts: Pick<ApiParts, "functions" | "host">) {
    this.#parts = parts;
  }

  /**
   * The function that a request is about, for who may do such things with it: the listener has let through who may somewhere.
   * @throws invalid_argument; permission_denied.
   */
  async target(c: Context<ApiEnv>, scope: Scope): Promise<LambdaTarget & { readonly caller: Caller }> {
    const target = parseTarget(c.req.param("name") ?? "", c.req.query("Qualifier"));
    return { ...target, caller: await this.allow(c, scope, target) };
  }

  /** @throws permission_denied. */
  async allow(c: Context<ApiEnv>, scope: Scope, { namespace }: Pick<LambdaTarget, "namespace">): Promise<Caller> {
    const caller = await c.var.identify();
    requireScope(caller, scope, namespace, `${c.req.method} ${c.req.path}`);
    return caller;
  }

  /** A function, whatever of it is asked for. @throws not_found. */
  async existing(target: LambdaTarget, c: Context<ApiEnv>): Promise<DeployedFunction> {
    try {
      return await this.#parts.functions.get(target.namespace, target.name);
    } catch (error) {
      if (errorCodeOf(error) !== "not_found") throw error;
      throw unknownTarget({ ...target, qualifier: undefined }, c, error);
    }
  }

  /** What is asked for of a function: the newest, or the revision that its qualifier names. @throws not_found. */
  async find(target: LambdaTarget, c: Context<ApiEnv>): Promise<FunctionRecord> {
    const record = await this.existing(target, c);
    if (target.qualifier === undefined) return record;
    const number = versionOf(record, target.qualifier);
    const revisions = number === undefined ? [] : await this.revisions(target);
    return revisions.find(({ revision }) => revision === number) ?? fail(unknownTarget(target, c));
  }

  /** Those that are kept, the newest first. */
  revisions({ namespace, name }: LambdaTarget): Promise<readonly RevisionInfo[]> {
    return this.#parts.functions.revisions(namespace, name);
  }

  /** A function as it is shown. @param qualifier what it was asked for by; undefined for the newest. */
  shown(record: FunctionRecord, c: Context<ApiEnv>, qualifier?: string, description?: string) {
    const { headers } = c.req.raw;
    return configurationOf(record, headers, this.#parts.host.arch, { qualifier, description });
  }

  /** @throws as `Functions.deploy`; what is wrong with the image as invalid_argument. */
  async deploy({ namespace, name }: LambdaTarget, input: FunctionInput, c: Context<ApiEnv>): Promise<DeployedFunction> {
    try {
      return await this.#parts.functions.deploy(namespace, name, input, { parent: c.var.span });
    } catch (error) {
      if (!imageCodes.has(errorCodeOf(error))) throw error;
      throw new Failure("invalid_argument", `cannot use the image: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Does something with a function while nobody else does by this API. */
  hold<T>({ namespace, name }: LambdaTarget, work: () => Promise<T>): Promise<T> {
    return this.#locks.hold(`${namespace}/${name}`, work);
  }

  /**
   * Deploys the function that a request is about again, with other settings.
   * @param of the function, where it is not the newest revision alone that is asked for.
   * @throws not_found; aborted where it is another one than was asked for; permission_denied; as `deploy`.
   */
  async change(
    c: Context<ApiEnv>,
    asked: Bound,
    edit: (before: FunctionInput) => FunctionInput,
    of?: LambdaTarget & { readonly caller: Caller },
  ): Promise<DeployedFunction> {
    const target = of ?? await this.target(c, "deploy");
    if (of === undefined) requireLatest(target, c.req.raw.headers);
    return await this.hold(target, async () => {
      const before = await this.existing(target, c);
      requireSame(asked, revisionId(before));
      const settings = parse(SettingsSchema, before, `cannot change function ${JSON.stringify(target.name)}`);
      // What an administrator has given to a function is not another image's to use.
      requireMeans(target.caller, settings, "change a function");
      return await this.deploy(target, edit(settings), c);
    });
  }
}

/** The number of a revision that a qualifier names. */
export function versionOf(record: DeployedFunction, qualifier: string): number | undefined {
  const named = record.traffic.tags[qualifier];
  if (named === latest) return record.revision;
  return revisionNumber(record.name, named ?? qualifier);
}

/** @throws aborted where a change is bound to what is no more. */
export function requireSame({ RevisionId }: Bound, now: string): void {
  if (RevisionId === undefined || RevisionId === now) return;
  throw new Failure(
    "aborted",
    "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to " +
      "retrieve the latest Revision Id",
  );
}

export function unknownTarget(target: LambdaTarget, c: Context<ApiEnv>, cause?: unknown): Failure {
  return new Failure("not_found", `Function not found: ${arnOf(target, c.req.raw.headers, target.qualifier)}`, {
    cause,
  });
}

/** The most that one page of a list has, whatever is asked, as AWS Lambda has it. */
const pageSize = 50;

const PageSchema = v.object({
  /** The name of the page before's last one. */
  Marker: v.optional(v.pipe(v.string(), v.maxLength(128))),
  MaxItems: v.optional(
    v.pipe(v.string(), v.digits("a whole number"), v.transform(Number), v.minValue(1), v.maxValue(10_000)),
    "50",
  ),
});

/**
 * The part of a list that a request asks for.
 * @param all in its order. @param nameOf what tells one from the others.
 */
export function pageOf<T>(
  c: Context<ApiEnv>,
  all: readonly T[],
  nameOf: (one: T) => string,
): { readonly page: readonly T[]; readonly NextMarker?: string } {
  const { Marker, MaxItems } = parse(PageSchema, c.req.query(), "cannot list");
  const begin = Marker === undefined ? 0 : all.findIndex((one) => nameOf(one) === Marker) + 1;
  if (Marker !== undefined && begin === 0) {
    throw new Failure(
      "invalid_argument",
      `cannot list: "Marker" is ${JSON.stringify(Marker)}, which is gone: list anew`,
      {
        details: { field: "Marker" },
      },
    );
  }
  const page = all.slice(begin, begin + Math.min(MaxItems, pageSize));
  const last = page.at(-1);
  return { page, ...(last !== undefined && begin + page.length < all.length && { NextMarker: nameOf(last) }) };
}

function fail(failure: Failure): never {
  throw failure;
}
