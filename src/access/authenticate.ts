import { type Authenticate, type Caller, everywhere } from "../core/access.ts";
import { Failure } from "../core/errors.ts";
import { secret } from "../core/secret.ts";
import type { Oidc } from "./oidc.ts";
import type { Tokens } from "./tokens.ts";

export interface AuthenticateParts {
  readonly tokens: Pick<Tokens, "find">;
  /** An issuer whose JWTs are taken. */
  readonly oidc?: Pick<Oidc, "find"> | undefined;
  /** The one that the configuration has, which may do everything. */
  readonly adminToken?: string | undefined;
}

/** Tells who a bearer token is: one that was made here, by an issuer that is trusted, or the configuration's. */
export function authenticator({ tokens, oidc, adminToken }: AuthenticateParts): Authenticate {
  const isAdmin = adminToken === undefined ? undefined : secret(adminToken);
  const admin: Caller = {
    name: "adminToken",
    key: "admin",
    grants: [{ scopes: ["admin"], namespace: everywhere }],
  };
  return async (bearer) => {
    const caller = await tokens.find(bearer) ?? await oidc?.find(bearer);
    if (caller !== undefined) return caller;
    if (await isAdmin?.(bearer)) return admin;
    throw new Failure(
      "unauthenticated",
      "cannot tell who asks: the token is none of this daemon's, it may be mistyped or removed: " +
        "mayfly token list shows all, mayfly token create makes one",
    );
  };
}
