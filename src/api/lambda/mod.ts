import { Hono, type MiddlewareHandler } from "hono";
import { codeOf } from "../../core/errors.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { lambdaErrorResponse } from "./errors.ts";
import { invokeRoute } from "./invoke.ts";
import { invokeStreamRoute } from "./invoke_stream.ts";
import { managementRoutes } from "./management.ts";

/** Where AWS Lambda's API begins, and that part of it which is younger. */
export const lambdaPath = "/2015-03-31/functions";
export const lambdaStreamPath = "/2021-11-15/functions";

/**
 * The API of AWS Lambda over functions, for clients that exist already. Whoever may invoke a function may do so here too;
 * everything else is the administrator's. A request's signature is not verified: nobody here knows the key.
 * @param admin guards what is the administrator's.
 * @see https://docs.aws.amazon.com/lambda/latest/api/welcome.html
 */
export function lambdaRoutes(parts: ApiParts, admin: MiddlewareHandler): Hono<ApiEnv> {
  const app = newApp(parts);
  app.post("/:name/invocations", invokeRoute(parts));
  return app.route("/", managementRoutes(parts, admin));
}

/** The answers that come as streams. */
export function lambdaStreamRoutes(parts: ApiParts): Hono<ApiEnv> {
  const app = newApp(parts);
  app.post("/:name/response-streaming-invocations", invokeStreamRoute(parts));
  return app;
}

function newApp(parts: ApiParts): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();
  app.onError((error) => {
    if (codeOf(error) === "internal") parts.onError(error, "cannot answer a request");
    return lambdaErrorResponse(error);
  });
  return app;
}
