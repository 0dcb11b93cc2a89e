import { Hono } from "hono";
import { identifyCaller } from "./access.ts";
import { AcceptedAnswer } from "./answers.ts";
import { ownCallRoutes } from "./calls.ts";
import { withDescription } from "./documented.ts";
import { answerError } from "./errors.ts";
import { revisionHeader } from "../functions/route.ts";
import { acceptRoute, invokeRoute } from "./fn.ts";
import { type ApiEnv, observeRequests } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";
import { giveRequestId } from "./request_id.ts";

/** `/fn/{name}` and `/async/fn/{name}`: what callers of functions ask. */
export function addFunctionRoutes(app: Hono<ApiEnv>, parts: ApiParts): void {
  const invoke = withDescription(invokeRoute(parts), {
    summary: "Invokes a function: the request becomes a container, its output the answer.",
    answers: { 200: "application/octet-stream" },
    body: "application/octet-stream",
    headers: { [revisionHeader]: "The revision that is to answer: a tag, or one with a tag or traffic." },
    problems: ["resource_exhausted", "unavailable", "deadline_exceeded", "internal", "invalid_argument"],
  });
  app.all("/fn/:target", invoke);
  app.all("/fn/:target/*", invoke);
  const accept = withDescription(acceptRoute(parts), {
    summary: "Accepts a request to a function, to be run later.",
    answers: { 202: AcceptedAnswer },
    body: "application/octet-stream",
    headers: { [revisionHeader]: "The revision that is to answer: a tag, or one with a tag or traffic." },
    problems: ["not_found", "resource_exhausted", "unavailable", "invalid_argument"],
  });
  app.all("/async/fn/:target", accept);
  app.all("/async/fn/:target/*", accept);
}

/**
 * Those routes and `/async/calls/{id}` alone, for a server of somebody else's, whose matter it is which hosts, origins and
 * callers are let in; functions that want a token ask for it here, too. In a Hono app `route("/jobs", …)` mounts them, and
 * everything they answer names that path; that server's other routes are left alone, wherever that is.
 */
export function createFunctionApp(parts: ApiParts): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();
  app.onError(answerError(parts));
  // What stands in X-Forwarded-For is not believed: who is at the other end of that server's connection is not known here.
  const observe = observeRequests(parts.monitor, []);
  const identify = identifyCaller({ listener: "tcp" }, parts);
  for (const path of ["/fn/*", "/async/*"]) app.use(path, giveRequestId(), observe, identify);
  addFunctionRoutes(app, parts);
  app.route("/async/calls", ownCallRoutes(parts));
  return app;
}
