/** Who may do what: scopes, in a namespace or in all of them. */
import { Failure } from "./errors.ts";
import type { RateState } from "./rate.ts";

/**
 * What a caller may do: `read` looks, `invoke` calls functions, `deploy` changes what is in a namespace (and looks and
 * calls), `admin` gives out tokens too. What reaches the machine beneath the containers wants `admin` everywhere.
 */
export const scopes = ["admin", "deploy", "invoke", "read"] as const;
export type Scope = (typeof scopes)[number];

/** In place of a namespace: all of them, and what is none's. */
export const everywhere = "*";

const included: Readonly<Record<Scope, readonly Scope[]>> = {
  admin: ["admin", "deploy", "invoke", "read"],
  deploy: ["deploy", "invoke", "read"],
  invoke: ["invoke"],
  read: ["read"],
};

export interface Grant {
  readonly scopes: readonly Scope[];
  /** Its name, or `everywhere`. */
  readonly namespace: string;
}

/** Who asks, as far as it matters. */
export interface Caller {
  /** For messages and logs, with its kind: `token "ci"`. Never a secret. */
  readonly name: string;
  /** The same for all requests of one caller, and of no other. */
  readonly key: string;
  readonly grants: readonly Grant[];
  /** How it gets more scopes, where not by another token. */
  readonly cure?: string;
  /** What is left of how often it may ask; absent where there is no limit. */
  readonly rate?: RateState | undefined;
}

/** The daemon itself, and whoever can open its Unix socket. */
export const rootCaller: Caller = { name: "root", key: "root", grants: [{ scopes: ["admin"], namespace: everywhere }] };

/**
 * Tells who a bearer token is.
 * @throws unauthenticated for one that is nobody's, or no more.
 */
export type Authenticate = (bearer: string) => Promise<Caller>;

/**
 * Whether somebody may do something.
 * @param namespace its name; `everywhere` for what reaches over all of them; undefined asks for any one.
 */
export function may({ grants }: Caller, scope: Scope, namespace: string | undefined): boolean {
  return grants.some((grant) =>
    (namespace === undefined || grant.namespace === everywhere || grant.namespace === namespace) &&
    grant.scopes.some((given) => included[given].includes(scope))
  );
}

/** @throws permission_denied, with what was wanted and the cure. */
export function requireScope(caller: Caller, scope: Scope, namespace: string | undefined, action: string): void {
  if (may(caller, scope, namespace)) return;
  const has = caller.grants.map((grant) => `${grant.scopes.join(", ")} in ${placeOf(grant.namespace)}`).join("; ");
  const option = namespace === undefined || namespace === "default" ? "" : ` --namespace '${namespace}'`;
  throw new Failure(
    "permission_denied",
    `cannot ${action}: ${caller.name} has ${has || "no scope"}, wanted ${scope} in ${placeOf(namespace)}: ` +
      (caller.cure ?? `mayfly token create <name> --scope ${scope}${option}`),
    { details: { scope, ...(namespace !== undefined && { namespace }) } },
  );
}

function placeOf(namespace: string | undefined): string {
  if (namespace === undefined) return "a namespace";
  return namespace === everywhere ? "all namespaces" : `namespace ${JSON.stringify(namespace)}`;
}
