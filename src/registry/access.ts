import type { Context, MiddlewareHandler } from "hono";
import * as v from "valibot";
import { type Authenticate, requireScope } from "../core/access.ts";
import { codeOf } from "../core/errors.ts";
import { NameSchema } from "../core/function.ts";
import { secret } from "../core/secret.ts";
import type { Repository } from "../core/repository.ts";
import { refusal } from "./errors.ts";
import { parseName } from "./names.ts";

/** What a route finds in its context. */
export interface RegistryEnv {
  Variables: {
    /** The namespace of who has logged in. */
    namespace: string;
    /** Who that is, for the log. */
    caller: string;
  };
}

export interface Logins {
  /** Who may do everything in a namespace: its token, by its name. */
  readonly tokens: Readonly<Record<string, string>>;
  /** Tells whose any other token is. */
  readonly authenticate?: Authenticate;
}

/**
 * Lets in who knows a token for a namespace: the name of the user is that of the namespace, the password the token. To
 * pull takes scope `read`, to push or delete `deploy`.
 * @throws UNAUTHORIZED; DENIED.
 * @see https://www.rfc-editor.org/rfc/rfc7617
 */
export function requireLogin({ tokens, authenticate }: Logins): MiddlewareHandler<RegistryEnv> {
  const namespaces = new Map(Object.entries(tokens).map(([namespace, token]) => [namespace, secret(token)]));
  return async (c, next) => {
    const [user, password] = basicCredentials(c.req.raw.headers.get("authorization") ?? "");
    if (await namespaces.get(user)?.(password)) c.set("caller", `namespace ${JSON.stringify(user)}`);
    else {
      const caller = await authenticate?.(password).catch(unlessUnknown);
      if (caller === undefined || !v.is(NameSchema, user)) {
        throw refusal("UNAUTHORIZED", "the registry wants a namespace as user and its token as password: docker login");
      }
      c.set("caller", caller.name);
      const looks = c.req.method === "GET" || c.req.method === "HEAD";
      requireScope(caller, looks ? "read" : "deploy", user, `${c.req.method} ${c.req.path}`);
    }
    c.set("namespace", user);
    await next();
  };
}

/** Nobody is known by the token. @throws every other error. */
function unlessUnknown(error: unknown): undefined {
  if (codeOf(error) !== "unauthenticated") throw error;
}

function basicCredentials(header: string): readonly [user: string, password: string] {
  const encoded = /^Basic +([A-Za-z0-9+/]+=*) *$/i.exec(header)?.[1] ?? "";
  try {
    const text = new TextDecoder().decode(Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0)));
    const colon = text.indexOf(":");
    return colon < 0 ? ["", ""] : [text.slice(0, colon), text.slice(colon + 1)];
  } catch {
    // What is no base64 says of nobody who he is.
    return ["", ""];
  }
}

/** The repository that a request is about. @throws NAME_INVALID. */
export function repositoryOf(c: Context<RegistryEnv, "/v2/:name{.+}/x">): Repository {
  return { namespace: c.var.namespace, repository: parseName(c.req.param("name")) };
}
