import { type Context, Hono, type MiddlewareHandler } from "hono";
import * as v from "valibot";
import { may, requireScope, type Scope } from "../../core/access.ts";
import { codeOf, Failure } from "../../core/errors.ts";
import { type FunctionRecord, NameSchema, SettingsSchema } from "../../core/function.ts";
import { KeyedLock } from "../../core/keyed_lock.ts";
import { parse } from "../../core/parse.ts";
import { watchdogOf } from "../../functions/watchdog.ts";
import { version } from "../../version.ts";
import { readJson } from "../input.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { DeploymentSchema, inputOf, NamespaceSchema, scaled, statusOf } from "./deployment.ts";
import { textResponse } from "./errors.ts";
import { logsAnswer, LogsSchema } from "./logs.ts";

const ScopeSchema = v.object({ namespace: NamespaceSchema });
const SecretSchema = v.object({
  name: v.string(),
  namespace: NamespaceSchema,
  value: v.optional(v.string(), ""),
  /** Base64; in place of `value`. */
  rawValue: v.optional(v.nullable(v.string())),
});
const DeleteSchema = v.object({ functionName: NameSchema, namespace: v.optional(v.string()) });
const ScaleSchema = v.object({
  replicas: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(1000)),
  namespace: v.optional(v.string()),
});

/**
 * The API of OpenFaaS's gateway for the administrator, below `/system`, after its published description.
 * @param admin guards all of it; each route asks for the scope that it needs, in the namespace that it is about.
 * @see https://github.com/openfaas/faas/blob/master/api-docs/spec.openapi.yml
 */
export function systemRoutes(parts: ApiParts, admin: MiddlewareHandler<ApiEnv>): Hono<ApiEnv> {
  const { functions, images, secrets, namespaces, host, closing } = parts;
  // One change at a time, each upon what the one before has made of the function.
  const locks = new KeyedLock();
  const app = new Hono<ApiEnv>();
  app.onError((error) => {
    if (codeOf(error) === "internal") parts.onError(error, "cannot answer a request");
    return textResponse(error);
  });
  app.use(admin);

  /** The namespace that the query names, or else the body, where the caller may do this. */
  const placeOf = async (c: Context<ApiEnv>, scope: Scope, named?: string): Promise<string> => {
    const { namespace } = parse(ScopeSchema, { namespace: c.req.query("namespace") ?? named }, "cannot read the query");
    requireScope(await c.var.identify(), scope, namespace, `${c.req.method} ${c.req.path}`);
    return namespace;
  };
  const bodyOf = async <Schema extends v.GenericSchema>(c: Context, schema: Schema): Promise<v.InferOutput<Schema>> =>
    parse(schema, await readJson(c), "cannot read the body");
  const find = async (namespace: string, name: string) =>
    (await functions.list(namespace)).find((record) => record.name === name);

  const deploy = async (c: Context<ApiEnv>, there: boolean) => {
    const deployment = await bodyOf(c, DeploymentSchema);
    const { service: name } = deployment;
    const namespace = await placeOf(c, "deploy", deployment.namespace);
    await locks.hold(`${namespace}/${name}`, async () => {
      const before = await find(namespace, name);
      if (there && before === undefined) throw unknown(namespace, name);
      if (!there && before !== undefined) {
        throw new Failure("already_exists", `cannot deploy function ${JSON.stringify(name)}: it is there: update it`);
      }
      const image = images.ownName(deployment.image) ?? deployment.image;
      const { target } = await images.find(namespace, image) ??
        await images.pull(namespace, image, { parent: c.var.span });
      const { config } = await images.config(target);
      const input = inputOf(deployment, watchdogOf(config, deployment.envVars ?? {}));
      await functions.deploy(namespace, name, input, { parent: c.var.span });
    });
    return c.body(null, 202);
  };
  const scale = async (c: Context<ApiEnv>) => {
    const { replicas, namespace: named } = await bodyOf(c, ScaleSchema);
    const namespace = await placeOf(c, "deploy", named);
    const name = c.req.param("name") ?? "";
    await locks.hold(`${namespace}/${name}`, async () => {
      const before = parse(SettingsSchema, await functions.get(namespace, name), `cannot scale function ${name}`);
      await functions.deploy(namespace, name, { ...before, ...scaled(before, replicas) }, { parent: c.var.span });
    });
    return c.body(null, 202);
  };
  const keepSecret = async (c: Context<ApiEnv>, verb: "create" | "update") => {
    const secret = await bodyOf(c, SecretSchema);
    const namespace = await placeOf(c, "deploy", secret.namespace);
    await secrets[verb](namespace, secret.name, bytesOf(secret));
    return c.body(null, verb === "create" ? 201 : 200);
  };
  const show = (record: FunctionRecord) => statusOf(record, functions.invocationCount(record.namespace, record.name));

  return app
    .get("/functions", async (c) => {
      const namespace = await placeOf(c, "read");
      return c.json((await functions.list(namespace)).map(show));
    })
    .post("/functions", (c) => deploy(c, false))
    .put("/functions", (c) => deploy(c, true))
    .delete("/functions", async (c) => {
      const { functionName, namespace: named } = await bodyOf(c, DeleteSchema);
      await functions.delete(await placeOf(c, "deploy", named), functionName);
      return c.body(null, 202);
    })
    .get("/function/:name", async (c) => {
      const namespace = await placeOf(c, "read");
      return c.json(show(await functions.get(namespace, c.req.param("name"))));
    })
    .post("/scale-function/:name", scale)
    .get("/secrets", async (c) => {
      const items = await secrets.list(await placeOf(c, "read"));
      return c.json(items.map(({ name, namespace }) => ({ name, namespace })));
    })
    .post("/secrets", (c) => keepSecret(c, "create"))
    .put("/secrets", (c) => keepSecret(c, "update"))
    .delete("/secrets", async (c) => {
      const { name, namespace } = await bodyOf(c, SecretSchema);
      await secrets.remove(await placeOf(c, "deploy", namespace), name);
      // 204 is described, and refused by clients.
      return c.body(null, 202);
    })
    .get("/logs", async (c) => {
      const query = parse(LogsSchema, c.req.query(), "cannot read the query");
      const namespace = await placeOf(c, "read", query.namespace);
      await functions.get(namespace, query.name);
      return logsAnswer(functions, { ...query, namespace }, closing);
    })
    .get("/namespaces", async (c) => {
      const caller = await c.var.identify();
      return c.json((await namespaces.list()).map(({ name }) => name).filter((name) => may(caller, "read", name)));
    })
    .get("/info", (c) => {
      const release = { sha: "", release: version };
      return c.json({
        provider: { provider: "mayfly", orchestration: host.name, version: release },
        version: release,
        arch: host.arch === "arm64" ? "aarch64" : "x86_64",
      });
    });
}

function unknown(namespace: string, name: string): Failure {
  return new Failure(
    "not_found",
    `no function ${JSON.stringify(name)} is deployed in namespace ${JSON.stringify(namespace)}`,
  );
}

/** What is wrong with a value is told without it. @throws invalid_argument. */
function bytesOf({ value, rawValue }: v.InferOutput<typeof SecretSchema>): Uint8Array<ArrayBuffer> {
  if (!rawValue) return new TextEncoder().encode(value);
  try {
    return Uint8Array.from(atob(rawValue), (character) => character.charCodeAt(0));
  } catch {
    throw new Failure("invalid_argument", "cannot read the body: rawValue is no base64", {
      details: { field: "rawValue" },
    });
  }
}
