import type { Context, MiddlewareHandler } from "hono";
import { secret } from "../core/secret.ts";
import type { Repository } from "../core/repository.ts";
import { refusal } from "./errors.ts";
import { parseName } from "./names.ts";

/** What a route finds in its context. */
export interface RegistryEnv {
  Variables: {
    /** The namespace of who has logged in. */
    namespace: string;
  };
}

/**
 * Lets in who knows a namespace's token: the name of the user is that of the namespace, the password the token.
 * @throws UNAUTHORIZED.
 * @see https://www.rfc-editor.org/rfc/rfc7617
 */
export function requireLogin(tokens: Readonly<Record<string, string>>): MiddlewareHandler<RegistryEnv> {
  const namespaces = new Map(Object.entries(tokens).map(([namespace, token]) => [namespace, secret(token)]));
  return async (c, next) => {
    const [user, password] = basicCredentials(c.req.raw.headers.get("authorization") ?? "");
    const isToken = namespaces.get(user);
    if (isToken === undefined || !await isToken(password)) {
      throw refusal("UNAUTHORIZED", "the registry wants a namespace as user and its token as password: docker login");
    }
    c.set("namespace", user);
    await next();
  };
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
