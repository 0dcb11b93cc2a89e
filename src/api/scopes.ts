import { everywhere, type Scope } from "../core/access.ts";

/**
 * What a route asks for, and where: `namespace`, in the one that the query names, else `default`; `given`, in the one that
 * the query names, else in all; `machine`, in all; `any`, somewhere: the route itself shows each what is theirs.
 */
export interface Need {
  readonly scope: Scope;
  readonly where: "namespace" | "given" | "machine" | "any";
}

const look: Need = { scope: "read", where: "namespace" };
const change: Need = { scope: "deploy", where: "namespace" };
const lookSomewhere: Need = { scope: "read", where: "any" };
const changeSomewhere: Need = { scope: "deploy", where: "any" };
const lookAtMachine: Need = { scope: "read", where: "machine" };
const changeMachine: Need = { scope: "admin", where: "machine" };

/** The calls of AWS Lambda's API, but those that invoke: functions ask for themselves then. */
const lambdaRoutes = [
  "GET /2015-03-31/functions",
  "POST /2015-03-31/functions",
  "GET /2015-03-31/functions/:name",
  "DELETE /2015-03-31/functions/:name",
  "GET /2015-03-31/functions/:name/configuration",
  "PUT /2015-03-31/functions/:name/configuration",
  "PUT /2015-03-31/functions/:name/code",
  "GET /2015-03-31/functions/:name/versions",
  "POST /2015-03-31/functions/:name/versions",
  "GET /2015-03-31/functions/:name/aliases",
  "POST /2015-03-31/functions/:name/aliases",
  "GET /2015-03-31/functions/:name/aliases/:alias",
  "PUT /2015-03-31/functions/:name/aliases/:alias",
  "DELETE /2015-03-31/functions/:name/aliases/:alias",
  "PUT /2017-10-31/functions/:name/concurrency",
  "DELETE /2017-10-31/functions/:name/concurrency",
  "GET /2019-09-30/functions/:name/concurrency",
  "PUT /2019-09-30/functions/:name/provisioned-concurrency",
  "GET /2019-09-30/functions/:name/provisioned-concurrency",
  "DELETE /2019-09-30/functions/:name/provisioned-concurrency",
  "GET /2019-09-25/functions/:name/event-invoke-config",
  "GET /2019-09-25/functions/:name/event-invoke-config/list",
  "POST /2019-09-25/functions/:name/event-invoke-config",
  "PUT /2019-09-25/functions/:name/event-invoke-config",
  "DELETE /2019-09-25/functions/:name/event-invoke-config",
  "GET /2021-10-31/functions/:name/url",
  "POST /2021-10-31/functions/:name/url",
  "PUT /2021-10-31/functions/:name/url",
  "DELETE /2021-10-31/functions/:name/url",
  "GET /2021-10-31/functions/:name/urls",
  "GET /2017-03-31/tags/:name",
  "POST /2017-03-31/tags/:name",
  "DELETE /2017-03-31/tags/:name",
  "GET /2016-08-19/account-settings",
] as const;

/**
 * What each route asks for, by method and pattern. What stands not here asks for everything.
 *
 * Whoever may change what is in a namespace may run any program in containers of it, and look into those. What names files
 * of the machine, or reaches it otherwise, is the machine's. @see ./machine_means.ts
 */
export const needs: Readonly<Record<string, Need>> = {
  "GET /metrics": lookAtMachine,
  "GET /openapi.json": { scope: "read", where: "any" },

  "GET /v1/calls": look,
  "GET /v1/calls/:id": look,
  "POST /v1/calls/:id/replay": { scope: "invoke", where: "namespace" },
  "DELETE /v1/calls/:id": change,

  "GET /v1/containers": look,
  "POST /v1/containers": change,
  "POST /v1/containers/prune": change,
  "GET /v1/containers/:id": look,
  "PATCH /v1/containers/:id": change,
  "DELETE /v1/containers/:id": change,
  "POST /v1/containers/:id/start": change,
  "POST /v1/containers/:id/stop": change,
  "POST /v1/containers/:id/kill": change,
  "POST /v1/containers/:id/wait": look,
  "POST /v1/containers/:id/pause": change,
  "POST /v1/containers/:id/resume": change,
  "GET /v1/containers/:id/processes": look,
  "GET /v1/containers/:id/stats": look,
  "GET /v1/containers/:id/stats/stream": look,
  "GET /v1/containers/:id/logs": look,
  "GET /v1/containers/:id/changes": look,
  "POST /v1/containers/:id/commit": change,
  "POST /v1/containers/:id/checkpoint": change,
  // Any file of a container, which may be a secret of it.
  "GET /v1/containers/:id/archive": change,
  "GET /v1/containers/:id/archive/stat": change,
  "PUT /v1/containers/:id/archive": change,
  "GET /v1/containers/:id/attach": change,
  "GET /v1/containers/:id/exec": change,

  "GET /v1/events": { scope: "read", where: "given" },

  "GET /v1/functions": look,
  "GET /v1/functions/:name/revisions": look,
  "GET /v1/functions/:name/traffic": look,
  "PUT /v1/functions/:name/traffic": change,
  "PATCH /v1/functions/:name/traffic": change,
  "POST /v1/functions/:name/rollback": change,
  "GET /v1/functions/:name": look,
  "PUT /v1/functions/:name": change,
  "DELETE /v1/functions/:name": change,
  "GET /v1/functions/:name/logs": look,

  "GET /v1/images": look,
  "POST /v1/images": change,
  "DELETE /v1/images": change,
  "POST /v1/images/build": change,
  "POST /v1/images/push": change,
  "POST /v1/images/tag": change,
  // It changes nothing; it reads much, and asks the registry with the daemon's credentials, as a pull does.
  "POST /v1/images/verify": change,
  // They read and write files of the machine.
  "POST /v1/images/import": changeMachine,
  "POST /v1/images/export": changeMachine,

  "GET /v1/invocations": look,
  "GET /v1/invocations/:id": look,

  "GET /v1/namespaces": { scope: "read", where: "any" },
  "POST /v1/namespaces": changeMachine,
  "DELETE /v1/namespaces/:name": changeMachine,

  "POST /v1/run": change,

  "GET /v1/secrets": look,
  "POST /v1/secrets/:name": change,
  "PUT /v1/secrets/:name": change,
  "DELETE /v1/secrets/:name": change,

  "GET /v1/snapshots": lookAtMachine,
  "GET /v1/snapshots/stat": lookAtMachine,
  "PATCH /v1/snapshots": changeMachine,

  "GET /v1/tasks": look,
  "GET /v1/tasks/:id": look,
  "DELETE /v1/tasks/:id": change,
  "PATCH /v1/tasks/:id": change,
  "POST /v1/tasks/:id/kill": change,
  "POST /v1/tasks/:id/pause": change,
  "POST /v1/tasks/:id/resume": change,
  "POST /v1/tasks/:id/wait": look,
  "GET /v1/tasks/:id/stats": look,
  "GET /v1/tasks/:id/stats/stream": look,
  "GET /v1/tasks/:id/processes": look,
  "GET /v1/tasks/:id/events": look,
  "POST /v1/tasks/:id/resize": change,
  "POST /v1/tasks/:id/exec": change,
  "POST /v1/tasks/:id/processes": change,

  // Their bodies name the namespace: each route asks for more, in that one.
  "GET /system/functions": lookSomewhere,
  "POST /system/functions": changeSomewhere,
  "PUT /system/functions": changeSomewhere,
  "DELETE /system/functions": changeSomewhere,
  "GET /system/function/:name": lookSomewhere,
  "POST /system/scale-function/:name": changeSomewhere,
  "GET /system/secrets": lookSomewhere,
  "POST /system/secrets": changeSomewhere,
  "PUT /system/secrets": changeSomewhere,
  "DELETE /system/secrets": changeSomewhere,
  "GET /system/logs": lookSomewhere,
  "GET /system/namespaces": lookSomewhere,
  "GET /system/info": lookSomewhere,

  "GET /v1/tokens": { scope: "admin", where: "any" },
  "POST /v1/tokens": { scope: "admin", where: "namespace" },
  "DELETE /v1/tokens/:name": { scope: "admin", where: "namespace" },

  // They name the namespace in the function's name, and look at that themselves.
  ...Object.fromEntries(
    lambdaRoutes.map((route) => [route, route.startsWith("GET ") ? lookSomewhere : changeSomewhere]),
  ),

  "GET /v1/info": lookAtMachine,
  "GET /v1/plugins": lookAtMachine,
  "GET /v1/system/df": lookAtMachine,
  "POST /v1/gc": changeMachine,
  "POST /v1/content/recover": changeMachine,
  "POST /v1/content/verify": changeMachine,
};

/** What the route of a method and a pattern asks for. @param path as Hono has it, `/v1/functions/:name`. */
export function needOf(method: string, path: string): Need {
  const key = `${method} ${path.replace(/(.)\/$/, "$1")}`;
  return Object.hasOwn(needs, key) ? needs[key] ?? changeMachine : changeMachine;
}

/**
 * Where a need has to be met by a request.
 * @param given the namespace that its query names.
 * @returns a namespace, `everywhere`, or undefined for any.
 */
export function placeOf({ where }: Need, given: string | undefined): string | undefined {
  if (where === "namespace") return given ?? "default";
  if (where === "given") return given ?? everywhere;
  return where === "machine" ? everywhere : undefined;
}
