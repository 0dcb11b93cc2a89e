import { type Digest, isDigest } from "../core/digest.ts";
import { refusal } from "./errors.ts";

/** `localhost/` and it have to fit into the name of an image. */
const longestName = 245;

// Each repetition begins with a character that cannot end the one before, so matching is linear.
const namePattern = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** What a manifest is asked for by. */
export type ManifestReference = { readonly tag: string } | { readonly digest: Digest };

/** @throws NAME_INVALID. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests */
export function parseName(text: string): string {
  if (text.length <= longestName && namePattern.test(text)) return text;
  throw refusal(
    "NAME_INVALID",
    `cannot use repository ${quoted(text)}: want up to ${longestName} lower-case letters and digits, with single ` +
      "dots, one or two underscores, dashes or slashes between them",
  );
}

/** @throws MANIFEST_INVALID for a wrong tag; DIGEST_INVALID. */
export function parseManifestReference(text: string): ManifestReference {
  if (text.includes(":")) return { digest: parseBlobDigest(text) };
  return { tag: parseTag(text) };
}

/** @throws MANIFEST_INVALID. */
export function parseTag(text: string): string {
  if (tagPattern.test(text)) return text;
  throw refusal(
    "MANIFEST_INVALID",
    `cannot use tag ${quoted(text)}: want up to 128 letters, digits, _, . and -, the first no . or -`,
  );
}

/** @throws DIGEST_INVALID. */
export function parseBlobDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw refusal(
    "DIGEST_INVALID",
    `cannot use digest ${quoted(text)}: want sha256: and 64, or sha512: and 128, lower-case hex digits`,
  );
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 140 ? `${text.slice(0, 140)}…` : text);
}
