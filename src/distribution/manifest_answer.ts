import { createHash } from "node:crypto";
import * as v from "valibot";
import { type Descriptor, IndexSchema, mediaTypes } from "../core/descriptor.ts";
import { type Digest, isDigest, splitDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { Answer } from "./answer.ts";
import { printable } from "./registry_error.ts";

/** The distribution specification asks registries to take manifests of this size, and clients to refuse larger ones. */
export const maxManifestBytes = 4 * 1024 * 1024;

/** What can be pulled: an image, or an index of images. */
export const manifestTypes: readonly string[] = [
  mediaTypes.index,
  mediaTypes.manifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
];

const schema1Types: readonly string[] = [mediaTypes.dockerSchema1, mediaTypes.dockerSchema1Signed];

/** As much of a manifest as tells what it is. */
const Shape = v.object({
  schemaVersion: v.number(),
  mediaType: v.optional(v.string()),
  manifests: v.optional(v.array(v.unknown())),
  layers: v.optional(v.array(v.unknown())),
});

/**
 * Reads a descriptor from the headers of a manifest's answer.
 * @param wanted the digest that was asked for, where one was.
 * @returns undefined where the headers do not say enough, or not credibly; the body does.
 * @throws as `describeBody`.
 */
export function describeHeaders(action: string, answer: Answer, wanted: Digest | undefined): Descriptor | undefined {
  const mediaType = mediaTypeOf(answer);
  refuseSchema1(action, mediaType);
  const digest = answer.headers.get("docker-content-digest") ?? wanted;
  const length = answer.headers.get("content-length");
  if (!manifestTypes.includes(mediaType) || digest === undefined || !isDigest(digest)) return undefined;
  if (length === null || !/^[1-9][0-9]{0,14}$/.test(length)) return undefined;
  checkDigest(action, digest, wanted);
  const size = Number(length);
  if (size <= maxManifestBytes) return { mediaType, digest, size };
  throw new Failure("resource_exhausted", `${action}: it has ${size} bytes, a manifest may have ${maxManifestBytes}`);
}

/**
 * Reads a descriptor from a manifest itself.
 * @throws invalid_argument for what is no manifest; data_loss when it is not what was asked for or announced;
 * resource_exhausted over 4 MiB.
 */
export async function describeBody(action: string, answer: Answer, wanted: Digest | undefined): Promise<Descriptor> {
  const bytes = await answer.bytes(maxManifestBytes);
  const header = answer.headers.get("docker-content-digest");
  const announced = header !== null && isDigest(header) ? header : undefined;
  const digests = [wanted, announced].filter((digest) => digest !== undefined);
  for (const expected of digests) checkDigest(action, digestOf(splitDigest(expected).algorithm, bytes), expected);
  const [digest = digestOf("sha256", bytes)] = digests;
  const mediaType = typeOfBody(action, bytes, mediaTypeOf(answer));
  return { mediaType, digest, size: bytes.length };
}

/** Reads the list of what refers to a manifest. @throws invalid_argument for what is none; resource_exhausted over 4 MiB. */
export async function describeReferrers(action: string, answer: Answer): Promise<readonly Descriptor[]> {
  const bytes = await answer.bytes(maxManifestBytes);
  const parsed = v.safeParse(IndexSchema, jsonOf(bytes));
  if (parsed.success) return parsed.output.manifests;
  throw new Failure("invalid_argument", `${action}: ${answer.url.host} answers with what is no index`);
}

function digestOf(algorithm: "sha256" | "sha512", bytes: Uint8Array): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

function typeOfBody(action: string, bytes: Uint8Array, stated: string): string {
  const value = jsonOf(bytes);
  if (value === undefined) throw noManifest(action, stated, "it is no JSON");
  const parsed = v.safeParse(Shape, value);
  if (!parsed.success) throw noManifest(action, stated, "it has no schemaVersion");
  const { schemaVersion, mediaType, manifests, layers } = parsed.output;
  refuseSchema1(action, mediaType ?? stated, schemaVersion);
  if (mediaType !== undefined) {
    if (manifestTypes.includes(mediaType)) return mediaType;
    throw noManifest(action, mediaType, "this type cannot be pulled");
  }
  if (manifestTypes.includes(stated)) return stated;
  if (manifests !== undefined) return mediaTypes.index;
  if (layers !== undefined) return mediaTypes.manifest;
  throw noManifest(action, stated, "it has neither manifests nor layers");
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

function refuseSchema1(action: string, mediaType: string, schemaVersion = 2): void {
  if (!schema1Types.includes(mediaType) && schemaVersion !== 1) return;
  throw new Failure(
    "invalid_argument",
    `${action}: it is a Docker schema 1 manifest, which is no longer supported: push the image again with a current tool`,
  );
}

function checkDigest(action: string, digest: Digest, wanted: Digest | undefined): void {
  if (wanted === undefined || digest === wanted) return;
  throw new Failure("data_loss", `${action}: the registry has ${digest} there, expected was ${wanted}`);
}

function noManifest(action: string, stated: string, why: string): Failure {
  return new Failure(
    "invalid_argument",
    `${action}: ${JSON.stringify(printable(stated))} is no image manifest: ${why}`,
  );
}

function mediaTypeOf(answer: Answer): string {
  return (answer.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}
