import * as v from "valibot";
import { scopes } from "./access.ts";
import { TokenNamespaceSchema } from "./token.ts";

/** What issuers sign by: never a secret that both sides know, and never nothing. @see RFC 7518, 3.1; RFC 8037 */
export const signatureAlgorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] as const,
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"] as const,
] as const;

/** What is asked there decides who is let in: nobody on the way may answer in its place. */
const SafeUrlSchema = v.pipe(
  v.string(),
  v.maxLength(2048),
  v.check((text) => {
    if (!URL.canParse(text)) return false;
    const { protocol, hostname, hash, search, username, password } = new URL(text);
    const loopback = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
    return (protocol === "https:" || protocol === "http:" && loopback) &&
      [hash, search, username, password].join("") === "";
  }, "an https URL without query and fragment (http on loopback alone)"),
);

const AudienceSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(512));

/** What a claim entitles to. */
const RuleSchema = v.strictObject({
  /** A claim's name, or a path to it with dots, as `realm_access.roles`. */
  claim: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  /** What it has to be, or to have: as an item of a list, or as one of the words of a text. */
  value: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  scopes: v.pipe(
    v.array(v.picklist(scopes, `one of ${scopes.join(", ")}`)),
    v.minLength(1),
    v.maxLength(scopes.length),
  ),
  /** Where: a namespace, or `*` for all. Default `default`. */
  namespace: v.optional(TokenNamespaceSchema, "default"),
});

/** An issuer of JWTs that are taken as tokens. @see https://openid.net/specs/openid-connect-core-1_0.html */
export const OidcSchema = v.strictObject({
  /** Its name, exactly as in its tokens (`iss`). */
  issuer: SafeUrlSchema,
  /** For whom its tokens have to be (`aud`): this daemon. */
  audience: v.union([AudienceSchema, v.pipe(v.array(AudienceSchema), v.minLength(1), v.maxLength(16))]),
  /** Where its keys are. Default: as its discovery document says. */
  jwksUri: v.optional(SafeUrlSchema),
  algorithms: v.optional(
    v.pipe(v.array(v.picklist(signatureAlgorithms)), v.minLength(1)),
    () => [...signatureAlgorithms],
  ),
  /** Who is entitled to what. All that fit count; who has none may do nothing. */
  grants: v.pipe(v.array(RuleSchema), v.minLength(1, "a rule at least"), v.maxLength(1000)),
});
export type OidcSettings = v.InferOutput<typeof OidcSchema>;
