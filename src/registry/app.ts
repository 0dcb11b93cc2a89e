import { Hono, type MiddlewareHandler } from "hono";
import { codeOf } from "../core/errors.ts";
import { type Logins, type RegistryEnv, requireLogin } from "./access.ts";
import { blobRoutes } from "./blobs.ts";
import { errorResponse, refusal } from "./errors.ts";
import { manifestRoutes } from "./manifests.ts";
import type { RegistryParts } from "./parts.ts";
import { referrerRoutes } from "./referrers.ts";
import { tagRoutes } from "./tags.ts";
import { uploadRoutes } from "./upload_routes.ts";

export interface RegistryAppOptions extends Logins {
  /** What every request passes first. */
  readonly before: readonly MiddlewareHandler[];
  /** Told of errors that are no caller's fault, so that they are logged. */
  readonly onError: (error: unknown, what: string) => void;
}

/**
 * The registry: `/v2/` by the OCI distribution specification.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#endpoints
 */
export function createRegistryApp(parts: RegistryParts, { before, onError, ...logins }: RegistryAppOptions) {
  const app = new Hono<RegistryEnv>();
  app.onError((error) => {
    if (codeOf(error) === "internal") onError(error, "cannot answer a request to the registry");
    return errorResponse(error);
  });
  app.notFound((c) => {
    return errorResponse(
      refusal("UNSUPPORTED", `cannot ${c.req.method} ${c.req.path}: nothing is served there`, { status: 404 }),
    );
  });
  app.use(async (c, next) => {
    await next();
    // Clients that are older than the specification ask for it.
    c.header("docker-distribution-api-version", "registry/2.0");
  });
  app.use(...before, requireLogin(logins));
  const base = new Hono<RegistryEnv>().get("/", (c) => c.json({}));
  return app
    .route("/v2", base)
    .route("/v2/", base)
    .route("/v2", uploadRoutes(parts))
    .route("/v2", blobRoutes(parts))
    .route("/v2", manifestRoutes(parts))
    .route("/v2", tagRoutes(parts))
    .route("/v2", referrerRoutes(parts));
}
