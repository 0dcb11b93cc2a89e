import * as v from "valibot";
import { everywhere, scopes } from "./access.ts";
import type { Digest } from "./digest.ts";
import { NameSchema } from "./function.ts";
import { RateSchema } from "./rate.ts";

/** A namespace, or `*` for all. */
export const TokenNamespaceSchema = v.union(
  [NameSchema, v.literal(everywhere)],
  "a namespace's name, or * for all of them",
);

/** What a caller says of a new token. */
export const TokenInputSchema = v.strictObject({
  name: NameSchema,
  scopes: v.pipe(
    v.array(v.picklist(scopes, `one of ${scopes.join(", ")}`)),
    v.minLength(1, "a scope at least"),
    v.maxLength(scopes.length),
    v.transform((given) => [...new Set(given)]),
  ),
  /** How often it may be used, as `100/s`. Default: as often as may be. */
  rate: v.optional(RateSchema),
  /** Default: it does not expire. */
  expiresInMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(100 * 365 * 24 * 3600_000))),
});
export type TokenInput = v.InferOutput<typeof TokenInputSchema>;

/** What is kept of a token. */
export interface TokenRecord {
  /** The public part of its text; tells it from all others. */
  readonly id: string;
  /** Unique in its namespace. */
  readonly name: string;
  /** Where it is valid: a namespace, or `*`. */
  readonly namespace: string;
  readonly scopes: TokenInput["scopes"];
  /** SHA-256 of its secret part. That is 256 random bits: nothing slower would protect it better. */
  readonly hash: Digest;
  readonly rate?: string | undefined;
  readonly createdAt: Date;
  readonly expiresAt?: Date | undefined;
}

/** A token as others see it. */
export type TokenInfo = Omit<TokenRecord, "hash">;

/** Where tokens are recorded. */
export interface TokenStore {
  /** Every namespace's, by namespace and name. */
  list(): Promise<readonly TokenRecord[]>;
  /** Durably. @throws already_exists for a name that is in use in its namespace. */
  create(record: TokenRecord): Promise<void>;
  /** @returns whether it was there. */
  delete(namespace: string, name: string): Promise<boolean>;
}
