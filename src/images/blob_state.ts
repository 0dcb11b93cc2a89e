import { createHash } from "node:crypto";
import type { ContentStore } from "../core/content.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { codeOf } from "../core/errors.ts";

/** Tells whether a blob is in the store. Its bytes are not looked at. */
export async function isThere(content: ContentStore, digest: Digest): Promise<boolean> {
  return await content.info(digest).then(() => true, (error: unknown) => {
    if (codeOf(error) === "not_found") return false;
    throw error;
  });
}

/** The digest of all that comes, by the algorithm of another digest. */
export async function digestLike(like: Digest, source: AsyncIterable<Uint8Array>): Promise<Digest> {
  const { algorithm } = splitDigest(like);
  const hash = createHash(algorithm);
  for await (const chunk of source) hash.update(chunk);
  return `${algorithm}:${hash.digest("hex")}`;
}

/** Tells whether a blob is in the store and its bytes are those that its digest names. */
export async function isWhole(content: ContentStore, digest: Digest): Promise<boolean> {
  try {
    return await digestLike(digest, await content.read(digest)) === digest;
  } catch (error) {
    if (codeOf(error) === "not_found") return false;
    throw error;
  }
}
