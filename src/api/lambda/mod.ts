import { Hono, type MiddlewareHandler } from "hono";
import { codeOf } from "../../core/errors.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { lambdaErrorResponse } from "./errors.ts";
import { accountRoute } from "./account.ts";
import { aliasRoutes } from "./aliases.ts";
import { deleteConcurrency, getConcurrency, putConcurrency } from "./concurrency.ts";
import { eventInvokeRoutes } from "./event_invoke_config.ts";
import { invokeRoute } from "./invoke.ts";
import { invokeStreamRoute } from "./invoke_stream.ts";
import { Managed } from "./managed.ts";
import { managementRoutes } from "./management.ts";
import { tagRoutes } from "./tags.ts";
import { versionRoutes } from "./versions.ts";

/** Where the parts of AWS Lambda's API begin, each with the day from which on it has been so. */
const [functions, streams, concurrency, provisioned, events, tags, account] = [
  "/2015-03-31/functions",
  "/2021-11-15/functions",
  "/2017-10-31/functions",
  "/2019-09-30/functions",
  "/2019-09-25/functions",
  "/2017-03-31/tags",
  "/2016-08-19/account-settings",
] as const;
export const lambdaPaths: readonly string[] = [functions, streams, concurrency, provisioned, events, tags, account];

/**
 * The API of AWS Lambda over functions, for clients that exist already. Whoever may invoke a function may do so here too;
 * everything else is the administrator's. A request's signature is not verified: nobody here knows the key.
 * @param admin guards what is the administrator's.
 * @see https://docs.aws.amazon.com/lambda/latest/api/welcome.html
 */
export function lambdaRoutes(parts: ApiParts, admin: MiddlewareHandler): Hono<ApiEnv> {
  const app = newApp(parts);
  const managed = new Managed(parts);
  app.post(`${functions}/:name/invocations`, invokeRoute(parts));
  app.post(`${streams}/:name/response-streaming-invocations`, invokeStreamRoute(parts));
  app.route(functions, managementRoutes(parts, managed, admin));
  app.route(functions, versionRoutes(parts, managed, admin));
  app.route(functions, aliasRoutes(parts, managed, admin));
  app.put(`${concurrency}/:name/concurrency`, admin, putConcurrency(managed));
  app.delete(`${concurrency}/:name/concurrency`, admin, deleteConcurrency(managed));
  app.get(`${provisioned}/:name/concurrency`, admin, getConcurrency(managed));
  app.route(events, eventInvokeRoutes(parts, managed, admin));
  app.route(tags, tagRoutes(managed, admin));
  app.get(account, admin, accountRoute(parts, managed));
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
