import { Hono, type MiddlewareHandler } from "hono";
import { codeOf } from "../../core/errors.ts";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import { lambdaErrorResponse, unknownOperation } from "./errors.ts";
import { accountRoute } from "./account.ts";
import { aliasRoutes } from "./aliases.ts";
import { deleteConcurrency, getConcurrency, putConcurrency } from "./concurrency.ts";
import { eventInvokeRoutes } from "./event_invoke_config.ts";
import { functionUrlRoute } from "./function_url.ts";
import { invokeRoute } from "./invoke.ts";
import { invokeStreamRoute } from "./invoke_stream.ts";
import { Managed } from "./managed.ts";
import { listRoute, managementRoutes } from "./management.ts";
import { provisionedRoutes } from "./provisioned_concurrency.ts";
import { tagRoutes } from "./tags.ts";
import { functionUrlPath, urlConfigRoutes } from "./url_config.ts";
import { versionRoutes } from "./versions.ts";

/** Where the parts of AWS Lambda's API begin, each with the day from which on it has been so. */
const [functions, streams, concurrency, provisioned, events, urls, tags, account] = [
  "/2015-03-31/functions",
  "/2021-11-15/functions",
  "/2017-10-31/functions",
  "/2019-09-30/functions",
  "/2019-09-25/functions",
  "/2021-10-31/functions",
  "/2017-03-31/tags",
  "/2016-08-19/account-settings",
] as const;
export const lambdaPaths: readonly string[] = [
  functions,
  streams,
  concurrency,
  provisioned,
  events,
  urls,
  tags,
  account,
  functionUrlPath.slice(0, -1),
];

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
  app.route(provisioned, provisionedRoutes(parts, managed, admin));
  app.route(events, eventInvokeRoutes(parts, managed, admin));
  app.route(urls, urlConfigRoutes(managed, admin));
  for (const below of ["", "/*"]) app.all(`${functionUrlPath}:target${below}`, functionUrlRoute(parts));
  app.route(tags, tagRoutes(managed, admin));
  // AWS's SDK for Python, and so its command line, end these two with a slash.
  for (const end of ["", "/"]) {
    app.get(`${functions}${end}`, admin, listRoute(parts, managed));
    app.get(`${account}${end}`, admin, accountRoute(parts, managed));
  }
  // Its other parts are told of in a way that its clients can tell.
  for (const path of ["/2015-03-31/*", "/2018-10-31/*", "/2020-06-30/*", ...lambdaPaths.map((path) => `${path}/*`)]) {
    app.all(path, (c) => {
      throw unknownOperation(`cannot ${c.req.method} ${c.req.path}: there is no such call of AWS Lambda's here`);
    });
  }
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
