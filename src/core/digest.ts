import * as v from "valibot";
import { Failure } from "./errors.ts";

/**
 * A content address, `sha256:` and 64 hex digits (or `sha512:` and 128).
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md#digests
 */
export type Digest = `sha256:${string}` | `sha512:${string}`;

const pattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** The Valibot schema of a digest. */
export const DigestSchema = v.custom<Digest>(
  (value) => typeof value === "string" && pattern.test(value),
  "sha256: and 64, or sha512: and 128, lower-case hex digits",
);

/** Tells whether a string is a digest in canonical form. */
export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

/** Takes a text for a digest. @throws invalid_argument when it is none. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new Failure(
    "invalid_argument",
    `cannot parse digest ${
      JSON.stringify(text.slice(0, 140))
    }: want sha256: and 64, or sha512: and 128, lower-case hex digits`,
  );
}

/** Splits a digest into its algorithm and its hex digits. */
export function splitDigest(digest: Digest): { readonly algorithm: "sha256" | "sha512"; readonly hex: string } {
  const [algorithm, hex] = digest.split(":") as ["sha256" | "sha512", string];
  return { algorithm, hex };
}

/** The sha256 digest of bytes in memory. */
export async function digestOf(bytes: Uint8Array<ArrayBuffer> | string): Promise<Digest> {
  const data = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return `sha256:${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * The ChainID of a stack of layers: the first diffID, then `sha256(chain + " " + diffID)` for each above it.
 * @param diffIds the digests of the uncompressed layers, lowest first; at least one.
 * @returns one ChainID for every prefix of the stack, so the last one names the whole.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md#layer-chainid
 */
export async function chainIds(diffIds: readonly Digest[]): Promise<Digest[]> {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : await digestOf(`${below} ${diffId}`));
  }
  return chain;
}
