import { type Caller, everywhere } from "../core/access.ts";
import { digestOf } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { NamespaceStore } from "../core/metadata.ts";
import { Rates } from "../core/rate.ts";
import { equal } from "../core/secret.ts";
import type { TokenInfo, TokenInput, TokenRecord, TokenStore } from "../core/token.ts";

/** How many there may be: all of them are held in memory. */
const maxTokens = 10_000;

/** `mayfly_`, the id in hex, and the secret: 32 random bytes in base64url. Scanners for secrets know it by its beginning. */
const form = /^mayfly_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;

export interface TokensParts {
  readonly store: TokenStore;
  readonly namespaces: Pick<NamespaceStore, "ensure">;
  /** In milliseconds; default the clock. */
  readonly now?: () => number;
}

/** The tokens of this daemon. Their secrets are told once, when they are made; only hashes are kept. */
export class Tokens {
  readonly #parts: TokensParts;
  readonly #now: () => number;
  readonly #rates = new Rates();
  /** By id. */
  readonly #known = new Map<string, TokenRecord>();

  static async open(parts: TokensParts): Promise<Tokens> {
    const tokens = new Tokens(parts);
    for (const record of await parts.store.list()) tokens.#known.set(record.id, record);
    return tokens;
  }

  private constructor(parts: TokensParts) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
  }

  /**
   * Makes a token.
   * @returns what is kept of it, and its text, which nobody can tell again.
   * @throws already_exists; resource_exhausted.
   */
  async create(
    namespace: string,
    { name, scopes, rate, expiresInMs }: TokenInput,
  ): Promise<TokenInfo & { readonly token: string }> {
    if (this.#known.size >= maxTokens) {
      throw new Failure(
        "resource_exhausted",
        `cannot create token ${JSON.stringify(name)}: there are ${maxTokens}, remove some: mayfly token remove`,
      );
    }
    // With its namespace it goes, so that the next one of this name does not begin with somebody else's tokens.
    if (namespace !== everywhere) await this.#parts.namespaces.ensure(namespace);
    const id = hex(crypto.getRandomValues(new Uint8Array(8)));
    const secret = base64url(crypto.getRandomValues(new Uint8Array(32)));
    const now = this.#now();
    const info = {
      id,
      name,
      namespace,
      scopes,
      rate,
      createdAt: new Date(now),
      expiresAt: expiresInMs === undefined ? undefined : new Date(now + expiresInMs),
    };
    const record = { ...info, hash: await digestOf(secret) };
    await this.#parts.store.create(record);
    this.#known.set(id, record);
    return { ...info, token: `mayfly_${id}_${secret}` };
  }

  /** By namespace and name; those that have expired, too. */
  list(): readonly TokenInfo[] {
    return [...this.#known.values()].map(({ hash: _, ...info }) => info).sort((a, b) =>
      compare(a.namespace, b.namespace) || compare(a.name, b.name)
    );
  }

  /** Removes a token; from then on it is nobody's. @throws not_found. */
  async remove(namespace: string, name: string): Promise<TokenInfo> {
    const there = await this.#parts.store.delete(namespace, name);
    const known = [...this.#known.values()].find((token) => token.namespace === namespace && token.name === name);
    if (known !== undefined) {
      this.#known.delete(known.id);
      this.#rates.forget(known.id);
    }
    if (there && known !== undefined) {
      const { hash: _, ...info } = known;
      return info;
    }
    const place = namespace === everywhere ? "for all namespaces" : `in namespace ${JSON.stringify(namespace)}`;
    throw new Failure(
      "not_found",
      `cannot remove token ${JSON.stringify(name)}: there is none of this name ${place}: mayfly token list shows all`,
    );
  }

  /** Forgets the tokens of a namespace that is gone, with it. */
  forget(namespace: string): void {
    for (const [id, token] of this.#known) if (token.namespace === namespace) this.#known.delete(id);
  }

  /** Whether a text looks like a token of ours. */
  static looksLike(text: string): boolean {
    return text.startsWith("mayfly_");
  }

  /**
   * Whose a token is.
   * @returns undefined where it is none of ours.
   * @throws unauthenticated when it has expired; resource_exhausted where it is used too often.
   */
  async find(text: string): Promise<Caller | undefined> {
    const [, id = "", secret = ""] = form.exec(text) ?? [];
    const known = this.#known.get(id);
    if (known === undefined || !equal(await digestOf(secret), known.hash)) return undefined;
    const { name, namespace, scopes, rate, expiresAt } = known;
    const called = `token ${JSON.stringify(name)}`;
    if (expiresAt !== undefined && expiresAt.getTime() <= this.#now()) {
      throw new Failure(
        "unauthenticated",
        `${called} has expired at ${expiresAt.toISOString()}: make another with mayfly token create`,
      );
    }
    return {
      name: called,
      key: `token/${id}`,
      grants: [{ scopes, namespace }],
      rate: this.#rates.take(id, rate, called),
    };
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
