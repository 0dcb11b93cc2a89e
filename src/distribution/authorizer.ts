import * as v from "valibot";
import { codeOf, Failure } from "../core/errors.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import type { Answer } from "./answer.ts";
import { encodeBase64 } from "./base64.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";
import { isPrivate, leadsInside } from "./endpoint.ts";
import { checkNetwork } from "./redirect.ts";
import { registryFailure } from "./registry_error.ts";
import type { Tls } from "./tls.ts";
import type { Transport } from "./transport.ts";

const clientId = "mayfly";
const maxTokenBytes = 64 * 1024;
const maxCached = 1000;
/** What the token specification says where the server does not. */
const defaultLifeSeconds = 60;
/** A token is renewed this long before its end, so that it does not run out under way. */
const marginMs = 5_000;

const visible = v.pipe(v.string(), v.minLength(1), v.maxLength(maxTokenBytes), v.regex(/^[\x21-\x7e]+$/));
/** @see https://distribution.github.io/distribution/spec/auth/token/ */
const TokenAnswer = v.pipe(
  v.object({
    token: v.optional(visible),
    access_token: v.optional(visible),
    expires_in: v.optional(v.pipe(v.number(), v.minValue(0))),
  }),
  v.transform(({ token, access_token, expires_in }) => ({
    token: token ?? access_token,
    lifeMs: Math.max(expires_in ?? defaultLifeSeconds, defaultLifeSeconds) * 1000,
  })),
);

interface Grant {
  readonly header: string;
  readonly expiresAt: number;
}

/** Who asks, and for what. */
export interface Access {
  readonly registry: URL;
  readonly reference: ImageReference;
  /** What is to be done there, in the words of the token specification. */
  readonly actions: "pull" | "pull,push";
  /** In place of what `lookup` finds. */
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  /** How the registry is reached, and its token server where it is the same or of the same CA. */
  readonly tls?: Tls | undefined;
}

/**
 * Answers a registry's challenges, and remembers what it got for each repository and each who asks.
 *
 * Credentials go to the registry itself or to the token server that it names, over https or within this machine, and
 * nowhere else.
 */
export class Authorizer {
  readonly #transport: Transport;
  readonly #lookup: (reference: ImageReference) => Promise<Credentials | undefined>;
  readonly #grants = new Map<string, Grant>();
  readonly #asking = new Map<string, Promise<Grant | undefined>>();

  /** @param lookup finds the credentials of somebody who brought none. */
  constructor(transport: Transport, lookup: (reference: ImageReference) => Promise<Credentials | undefined>) {
    this.#transport = transport;
    this.#lookup = lookup;
  }

  /** The Authorization header that worked before; undefined where nothing is known or it has run out. */
  remembered(access: Access): string | undefined {
    const key = keyOf(access);
    const grant = this.#grants.get(key);
    if (grant === undefined || grant.expiresAt > Date.now()) return grant?.header;
    this.#grants.delete(key);
    return undefined;
  }

  /**
   * Answers the challenge of a 401. Requests that are challenged at the same time share one answer.
   * @param refused the header that led to it.
   * @returns the header to try again with; undefined when nothing but the same can be said.
   * @throws failed_precondition where credentials would have to travel in the clear; what the token server answered.
   */
  async answer(access: Access, answer: Answer, refused: string | undefined): Promise<string | undefined> {
    const known = this.remembered(access);
    if (known !== undefined && known !== refused) return known;
    const key = keyOf(access);
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      const challenges = parseChallenges(answer.headers.get("www-authenticate") ?? "");
      asking = this.#grant(access, challenges).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    const grant = await asking;
    if (grant === undefined || grant.header === refused) return undefined;
    this.#grants.delete(key);
    this.#grants.set(key, grant);
    const [oldest] = this.#grants.keys();
    if (this.#grants.size > maxCached && oldest !== undefined) this.#grants.delete(oldest);
    return grant.header;
  }

  /** What the user can do about a 401 or 403. */
  async advice(access: Access): Promise<string> {
    const { registry } = access.reference;
    const found = await this.#credentials(access).catch(() => undefined);
    if (found === undefined) {
      return `it does not exist, or wants credentials: log in with "docker login ${registry}" or ` +
        `"skopeo login --authfile ~/.docker/config.json ${registry}"`;
    }
    const who = found.kind === "password" ? `user ${JSON.stringify(found.username)}` : "the identity token";
    return `${who} is not accepted, or may not ${
      access.actions === "pull" ? "pull" : "push to"
    } ${access.reference.repository}`;
  }

  async #credentials({ credentials, reference }: Access): Promise<Credentials | undefined> {
    return credentials === undefined ? await this.#lookup(reference) : { kind: "password", ...credentials };
  }

  async #grant(access: Access, challenges: readonly Challenge[]): Promise<Grant | undefined> {
    const credentials = await this.#credentials(access);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    const basic = challenges.some(({ scheme }) => scheme === "basic");
    if (bearer === undefined && !basic) return undefined;
    if (credentials !== undefined && !isPrivate(access.registry)) {
      throw new Failure(
        "failed_precondition",
        `cannot log in to ${access.registry.host}: credentials are not sent over plain http to another machine`,
      );
    }
    if (bearer !== undefined) return await this.#token(access, bearer, credentials);
    if (credentials?.kind !== "password") return undefined;
    return { header: basicHeader(credentials), expiresAt: Infinity };
  }

  async #token(access: Access, challenge: Challenge, credentials: Credentials | undefined): Promise<Grant | undefined> {
    const action = `cannot get a token for ${formatReference(access.reference)}`;
    const realm = challenge.parameters.get("realm") ?? "";
    if (!URL.canParse(realm)) {
      throw new Failure("unavailable", `${action}: ${access.registry.host} names no token server`);
    }
    const url = new URL(realm);
    if (!isPrivate(url) || !/^https?:$/.test(url.protocol)) {
      throw new Failure("failed_precondition", `${action}: the token server ${url.host} is not reached over https`);
    }
    const deeper = () =>
      new Failure(
        "permission_denied",
        `${action}: ${access.registry.host} names a token server on this machine or its link, or in a private network`,
      );
    if (leadsInside(access.registry, url)) throw deeper();
    await checkNetwork(access.registry, url).catch((cause: unknown) => {
      throw codeOf(cause) === "permission_denied" ? deeper() : cause;
    });
    url.username = url.password = "";
    const service = challenge.parameters.get("service");
    const scope = challenge.parameters.get("scope") ?? `repository:${access.reference.repository}:${access.actions}`;
    const fields = new URLSearchParams({ ...(service === undefined ? {} : { service }), scope });
    const startedAt = Date.now();
    const answer = credentials?.kind === "identity"
      ? await this.#refresh(url, fields, credentials.token, access.tls)
      : await this.#ask(url, fields, credentials, access.tls);
    if (!answer.ok) {
      const refused = answer.status === 400 || answer.status === 401 || answer.status === 403;
      const failure = await registryFailure(action, answer, refused ? await this.advice(access) : undefined);
      if (answer.status !== 400) throw failure;
      throw new Failure("unauthenticated", failure.message, { details: failure.details ?? {} });
    }
    const { token, lifeMs } = await readToken(action, answer);
    return { header: `Bearer ${token}`, expiresAt: startedAt + lifeMs - marginMs };
  }

  #ask(
    url: URL,
    fields: URLSearchParams,
    credentials: Credentials | undefined,
    tls: Tls | undefined,
  ): Promise<Answer> {
    for (const [name, value] of fields) {
      // A mount asks for two repositories at once.
      url.searchParams.delete(name);
      for (const part of name === "scope" ? value.split(" ") : [value]) url.searchParams.append(name, part);
    }
    if (credentials?.kind !== "password") return this.#transport.send({ method: "GET", url, tls });
    url.searchParams.set("account", credentials.username);
    return this.#transport.send({ method: "GET", url, tls, authorization: basicHeader(credentials) });
  }

  #refresh(url: URL, fields: URLSearchParams, token: string, tls: Tls | undefined): Promise<Answer> {
    fields.set("grant_type", "refresh_token");
    fields.set("refresh_token", token);
    fields.set("client_id", clientId);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return this.#transport.send({ method: "POST", url, tls, headers, body: fields.toString() });
  }
}

async function readToken(action: string, answer: Answer): Promise<{ token: string; lifeMs: number }> {
  const bytes = await answer.bytes(maxTokenBytes * 2);
  try {
    const { token, lifeMs } = v.parse(TokenAnswer, JSON.parse(new TextDecoder().decode(bytes)));
    if (token !== undefined) return { token, lifeMs };
  } catch (error) {
    if (codeOf(error) !== "internal") throw error;
  }
  throw new Failure("unavailable", `${action}: what ${answer.url.host} sent is no token`);
}

function basicHeader({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${encodeBase64(`${username}:${password}`)}`;
}

function keyOf({ registry, reference, actions, credentials }: Access): string {
  return JSON.stringify([registry.origin, reference.repository, actions, credentials?.username, credentials?.password]);
}
