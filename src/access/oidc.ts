import type { JWTPayload, JWTVerifyGetKey } from "jose";
import * as v from "valibot";
import type { Caller } from "../core/access.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import { GrowingBytes } from "../core/growing_bytes.ts";
import type { OidcSettings } from "../core/oidc.ts";

/** Longer tokens are nobody's. */
const maxTokenChars = 16 * 1024;
/** The most that a document of the issuer may have. */
const maxDocumentBytes = 512 * 1024;
const documentTimeoutMs = 5000;
/** How long its keys are used before they are asked for again. */
const keysMaxAgeMs = 10 * 60_000;
/** How long a key that is not among them is not looked for again: anybody can make up its name. */
const keysCooldownMs = 30_000;
/** How long an issuer that does not answer is left alone. */
const restMs = 2000;
/** How far its clock may be from this one's. */
const clockToleranceSeconds = 30;

const DiscoverySchema = v.object({ issuer: v.string(), jwks_uri: v.pipe(v.string(), v.maxLength(2048)) });

type Library = typeof import("jose");

/** Takes JWTs of one issuer for tokens. Its keys are fetched when the first one comes, and kept. */
export class Oidc {
  readonly #settings: OidcSettings;
  #jose: Promise<Library> | undefined;
  #keys: Promise<JWTVerifyGetKey> | undefined;
  #restUntil = 0;

  constructor(settings: OidcSettings) {
    this.#settings = settings;
  }

  /**
   * Whose a token is.
   * @returns undefined where it is none of this issuer's.
   * @throws unauthenticated for one that is not valid; unavailable while the issuer's keys cannot be had.
   */
  async find(token: string): Promise<Caller | undefined> {
    if (token.length > maxTokenChars || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined;
    const jose = await (this.#jose ??= import("jose"));
    if (!this.#isOurs(jose, token)) return undefined;
    const { issuer, audience, algorithms, grants } = this.#settings;
    let payload: JWTPayload;
    try {
      const keys = await this.#fetchKeys(jose);
      ({ payload } = await jose.jwtVerify(token, keys, {
        issuer,
        audience,
        algorithms,
        clockTolerance: clockToleranceSeconds,
        requiredClaims: ["exp", "sub"],
      }));
    } catch (error) {
      throw refusal(jose, issuer, error);
    }
    const subject = String(payload.sub).slice(0, 256);
    return {
      name: `subject ${JSON.stringify(subject)}`,
      key: `oidc/${subject}`,
      cure: "a rule of oidc.grants in the daemon's configuration gives it",
      grants: grants.filter(({ claim, value }) => has(claimOf(payload, claim), value)),
    };
  }

  /** What it says of itself, before that is known to be true: whose keys are to say. */
  #isOurs(jose: Library, token: string): boolean {
    try {
      return jose.decodeJwt(token).iss === this.#settings.issuer;
    } catch {
      return false;
    }
  }

  #fetchKeys(jose: Library): Promise<JWTVerifyGetKey> {
    return this.#keys ??= this.#openKeys(jose).catch((error) => {
      this.#keys = undefined;
      throw error;
    });
  }

  async #openKeys(jose: Library): Promise<JWTVerifyGetKey> {
    return jose.createRemoteJWKSet(new URL(this.#settings.jwksUri ?? await this.#discover()), {
      timeoutDuration: documentTimeoutMs,
      cacheMaxAge: keysMaxAgeMs,
      cooldownDuration: keysCooldownMs,
      [jose.customFetch]: (url, { headers, signal }) => this.#fetch(url, headers, signal),
    });
  }

  /** @see https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig */
  async #discover(): Promise<string> {
    const { issuer } = this.#settings;
    const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const answer = await this.#fetch(url, new Headers(), AbortSignal.timeout(documentTimeoutMs));
    if (answer.status !== 200) throw away(issuer, `${url} is answered with ${answer.status}`);
    const found = v.safeParse(DiscoverySchema, await answer.json().catch(() => undefined));
    if (!found.success) throw away(issuer, `${url} is no discovery document`);
    // Else one issuer's document could name another's keys.
    if (found.output.issuer !== issuer) {
      throw away(issuer, `${url} is of issuer ${JSON.stringify(found.output.issuer)}`);
    }
    const { jwks_uri: keys } = found.output;
    if (!URL.canParse(keys) || new URL(keys).protocol !== "https:" && !issuer.startsWith("http:")) {
      throw away(issuer, `${url} names no https URL of keys`);
    }
    return keys;
  }

  /** Fetches a document of limited size; not again soon, where the issuer is away. */
  async #fetch(url: string, headers: Headers, signal: AbortSignal): Promise<Response> {
    const { issuer } = this.#settings;
    if (performance.now() < this.#restUntil) throw away(issuer, "it did not answer a moment ago");
    try {
      const answer = await fetch(url, { headers, signal, redirect: "error" });
      const bytes = new GrowingBytes();
      for await (const chunk of answer.body ?? []) {
        if (bytes.length + chunk.length > maxDocumentBytes) {
          throw away(issuer, `${url} has more than ${maxDocumentBytes} bytes`);
        }
        bytes.push(chunk);
      }
      if (answer.status >= 500) throw away(issuer, `${url} is answered with ${answer.status}`);
      return new Response(bytes.bytes().slice(), { status: answer.status });
    } catch (error) {
      this.#restUntil = performance.now() + restMs;
      throw error;
    }
  }
}

function away(issuer: string, why: string, cause?: unknown): Failure {
  return new Failure("unavailable", `cannot ask issuer ${issuer} for its keys: ${why}`, {
    cause,
    details: { retryAfterSeconds: Math.ceil(restMs / 1000) },
  });
}

/** What the library found wrong, in this project's words. Nothing of the token is told. */
function refusal(jose: Library, issuer: string, error: unknown): unknown {
  const { errors } = jose;
  if (codeOf(error) === "unavailable") return error;
  const wrong = (what: string) =>
    new Failure("unauthenticated", `cannot tell who asks: the token of issuer ${issuer} ${what}`, { cause: error });
  if (error instanceof errors.JWTExpired) return wrong("has expired: get another from there");
  if (error instanceof errors.JWTClaimValidationFailed) return wrong(`is not for here: ${error.message}`);
  if (error instanceof errors.JWKSTimeout) return away(issuer, "it does not answer in time", error);
  if (error instanceof errors.JWKSInvalid) return away(issuer, "what it answers are no keys", error);
  if (
    error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys
  ) return wrong("is not signed by one of its keys");
  if (error instanceof errors.JOSEAlgNotAllowed) return wrong("is signed by an algorithm that is not taken");
  // What is not of the library comes from the way to the issuer; the rest of it are malformed tokens and keys.
  return error instanceof errors.JOSEError && !(error.code === "ERR_JOSE_GENERIC")
    ? wrong("is malformed")
    : away(issuer, messageOf(error), error);
}

/** `realm_access.roles`; a claim whose own name has dots comes first. */
function claimOf(payload: JWTPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const part of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
}

/** Whether a claim is, or has, a value. @see RFC 8693, 4.2 for words of a text, as in `scope`. */
function has(claim: unknown, value: string): boolean {
  if (Array.isArray(claim)) return claim.includes(value);
  return typeof claim === "string" && (claim === value || claim.split(" ").includes(value));
}
