import { Hono } from "hono";
import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import { version } from "../version.ts";
import { HealthAnswer } from "./answers.ts";
import { functionOrigins } from "./cors.ts";
import { documented } from "./documented.ts";
import { type Access, checkHost, identifyCaller, requireRight } from "./access.ts";
import { logAccess } from "./access_log.ts";
import { attachRoutes } from "./attach.ts";
import { containerChangesRoutes } from "./container_changes.ts";
import { containerRoutes } from "./containers.ts";
import { namespaceRoutes } from "./namespaces.ts";
import { type ApiEnv, observeRequests } from "./observe_requests.ts";
import { answerError, problemResponse } from "./errors.ts";
import { eventRoutes } from "./events.ts";
import { execRoutes } from "./exec.ts";
import { functionRoutes } from "./functions.ts";
import { imageRoutes } from "./images.ts";
import { invocationRoutes } from "./invocations.ts";
import { lambdaPaths, lambdaRoutes } from "./lambda/mod.ts";
import { addOpenfaasRoutes, openfaasPaths } from "./openfaas/mod.ts";
import { callRoutes, ownCallRoutes } from "./calls.ts";
import { addFunctionRoutes } from "./function_app.ts";
import type { ApiParts } from "./parts.ts";
import { revisionRoutes } from "./revisions.ts";
import { giveRequestId } from "./request_id.ts";
import { runRoutes } from "./run.ts";
import { secretRoutes } from "./secrets.ts";
import { snapshotRoutes } from "./snapshots.ts";
import { systemRoutes } from "./system.ts";
import { taskRoutes } from "./tasks.ts";
import { tokenRoutes } from "./tokens.ts";

/**
 * The HTTP API of one listener. Its type is what the typed client is made of.
 * @param access who may ask what there.
 */
export function createApp(parts: ApiParts, access: Access) {
  const app = new Hono<ApiEnv>();
  app.onError(answerError(parts));
  app.notFound((c) => {
    const allow = methodsAt(app, c.req.path);
    const what = `${c.req.method} ${c.req.path}`;
    return allow.length > 0
      ? problemResponse(
        new Failure("unimplemented", `cannot ${what}: the methods here are ${allow.join(", ")}`, {
          details: { allow: allow.join(", ") },
        }),
        { status: 405 },
      )
      : problemResponse(new Failure("not_found", `cannot ${what}: nothing is served at this path`));
  });
  app.use(logAccess(access.listener, access.trustedProxies ?? [], parts.accessLog), giveRequestId());
  const observe = observeRequests(parts.monitor, access.trustedProxies ?? []);
  app.use("/fn/*", observe);
  app.use("/async/*", observe);
  app.use("/v1/*", observe);
  for (const path of [...lambdaPaths, ...openfaasPaths]) app.use(`${path}/*`, observe);
  app.use(identifyCaller(access, parts));
  if (access.listener === "tcp") app.use(checkHost(access, functionOrigins(parts)));
  const admin = requireRight(access);
  app.use("/v1/*", admin);
  app.use("/metrics", admin);
  app.use("/openapi.json", admin);
  app.use("/v1/*", async (c, next) => {
    await next();
    c.header("x-mayfly-version", version);
  });

  addFunctionRoutes(app, parts);
  app.route("/", lambdaRoutes(parts, admin));
  addOpenfaasRoutes(app, parts, admin);
  return app
    .get(
      "/healthz",
      documented("Says that the daemon answers.", { 200: HealthAnswer }),
      (c) => c.json({ status: "ok" }, 200, { "x-mayfly-version": version }),
    )
    .get("/openapi.json", documented("Describes this API: this document.", { 200: v.looseObject({}) }), async (c) => {
      // Loaded when it is asked for: a daemon serves without it.
      const { openApiDocument } = await import("./openapi.ts");
      return c.json(openApiDocument(app.routes) as object);
    })
    .get("/metrics", documented("Gives all figures in Prometheus' text format.", { 200: "text/plain" }), async (c) => {
      return c.text(await parts.monitor.prometheus(), 200, {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
      });
    })
    .route("/async/calls", ownCallRoutes(parts))
    .route("/v1/calls", callRoutes(parts))
    .route("/v1/containers", containerRoutes(parts))
    .route("/v1/containers", containerChangesRoutes(parts))
    .route("/v1/containers", attachRoutes(parts))
    .route("/v1/containers", execRoutes(parts))
    .route("/v1/events", eventRoutes(parts))
    .route("/v1/functions", functionRoutes(parts))
    .route("/v1/functions", revisionRoutes(parts))
    .route("/v1/images", imageRoutes(parts))
    .route("/v1/invocations", invocationRoutes(parts))
    .route("/v1/namespaces", namespaceRoutes(parts))
    .route("/v1/secrets", secretRoutes(parts))
    .route("/v1/snapshots", snapshotRoutes(parts))
    .route("/v1/tasks", taskRoutes(parts))
    .route("/v1/tokens", tokenRoutes(parts))
    .route("/v1/run", runRoutes(parts))
    .route("/v1", systemRoutes(parts));
}

export type Api = ReturnType<typeof createApp>;

/** The methods that are served at a path. */
function methodsAt(app: Pick<Hono, "routes">, path: string): readonly string[] {
  const parts = path.split("/");
  const fits = (pattern: string) => {
    const wanted = pattern.split("/");
    return wanted.length === parts.length &&
      wanted.every((part, i) => part.startsWith(":") ? parts[i] !== "" : part === parts[i]);
  };
  return [
    ...new Set(app.routes.filter(({ method, path }) => method !== "ALL" && fits(path)).map(({ method }) => method)),
  ];
}
