import type { Hono, MiddlewareHandler } from "hono";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { asyncFunctionRoute, functionRoute } from "./function.ts";
import { systemRoutes } from "./system.ts";

/** Where the API of OpenFaaS's gateway begins. */
export const openfaasPaths: readonly string[] = ["/system", "/function", "/async-function"];

/**
 * The API of OpenFaaS's gateway over functions, for clients that exist already.
 * @param admin guards what is the administrator's.
 */
export function addOpenfaasRoutes(app: Hono<ApiEnv>, parts: ApiParts, admin: MiddlewareHandler<ApiEnv>): void {
  const [invoke, accept] = [functionRoute(parts), asyncFunctionRoute(parts)];
  for (const below of ["", "/*"]) {
    app.all(`/function/:target${below}`, invoke);
    app.all(`/async-function/:target${below}`, accept);
  }
  app.route("/system", systemRoutes(parts, admin));
}
