import { may } from "../core/access.ts";
import { Failure } from "../core/errors.ts";
import type { DeployedFunction, FunctionRecord, FunctionStore } from "../core/function.ts";
import { revisionName } from "../core/revision.ts";
import type { InvocationRequest } from "./request.ts";
import { notForRequests, Route } from "./route.ts";

/** By what this process keeps things of a function. */
export function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

/** A function that is deployed. @throws not_found. */
export async function requireFunction(
  store: Pick<FunctionStore, "get">,
  namespace: string,
  name: string,
): Promise<DeployedFunction> {
  return await store.get(namespace, name) ?? fail(unknownFunction(namespace, name));
}

/** A revision that is kept. @throws not_found. */
export async function requireRevision(
  store: Pick<FunctionStore, "revision">,
  { namespace, name }: Pick<FunctionRecord, "namespace" | "name">,
  revision: number,
): Promise<FunctionRecord> {
  return await store.revision(namespace, name, revision) ?? fail(
    new Failure(
      "not_found",
      `no revision ${JSON.stringify(revisionName(name, revision))} of function ${JSON.stringify(name)} is kept: ` +
        `mayfly revisions ${name} lists those that are`,
    ),
  );
}

/**
 * The revision that a request asks for: one that has a tag or traffic, or any that is kept for who may give it some.
 * @returns undefined where it asks for none.
 * @throws not_found.
 */
export async function askedRevision(
  { namespace, name }: Pick<FunctionRecord, "namespace" | "name">,
  route: Route,
  { headers, identify }: Pick<InvocationRequest, "headers" | "identify">,
): Promise<number | undefined> {
  const asked = route.asked(headers);
  if (asked === undefined || route.reaches(asked)) return asked;
  const mayDeploy = await identify().then((caller) => may(caller, "deploy", namespace), () => false);
  if (mayDeploy) return asked;
  throw notForRequests(name, revisionName(name, asked));
}

/** The revision with the most traffic: its settings hold for what a function has once. */
export async function mainRevision(
  store: Pick<FunctionStore, "revision">,
  record: DeployedFunction,
): Promise<FunctionRecord> {
  const { main } = new Route(record);
  return main === record.revision ? record : await requireRevision(store, record, main);
}

/** The newest revision, and those that somebody may reach. */
export async function reachedRevisions(
  store: Pick<FunctionStore, "revision">,
  record: DeployedFunction,
): Promise<readonly FunctionRecord[]> {
  const { split, named } = new Route(record);
  const others = new Set([...split.keys(), ...named]);
  others.delete(record.revision);
  return [record, ...await Promise.all(Array.from(others, (revision) => requireRevision(store, record, revision)))];
}

export function unknownFunction(namespace: string, name: string): Failure {
  return new Failure(
    "not_found",
    `no function ${JSON.stringify(name)} is deployed in namespace ${JSON.stringify(namespace)}`,
  );
}

function fail(failure: Failure): never {
  throw failure;
}
