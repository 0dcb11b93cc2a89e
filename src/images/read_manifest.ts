import {
  type Descriptor,
  type Index,
  IndexSchema,
  type Manifest,
  ManifestSchema,
  mediaTypes,
} from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { Failure, messageOf } from "../core/errors.ts";
import { parse } from "../core/parse.ts";

/** The largest manifest, index or image configuration that is read. */
export const documentBytes = 4 << 20;

export type ManifestDocument =
  | { readonly kind: "index"; readonly index: Index }
  | { readonly kind: "manifest"; readonly manifest: Manifest };

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Parses JSON from outside. @throws invalid_argument. */
export function readJson(bytes: Uint8Array, action: string): unknown {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (error) {
    throw new Failure("invalid_argument", `${action}: it is no JSON: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Parses a manifest or an index of manifests, of OCI or of Docker's schema 2.
 * @param mediaType what the descriptor said; the document itself, where it says so, has to agree on which of both it is.
 * @throws invalid_argument for anything else; unimplemented for Docker's schema 1.
 */
export function readManifest(bytes: Uint8Array, digest: Digest, mediaType?: string): ManifestDocument {
  const action = `cannot read manifest ${digest}`;
  const document = readJson(bytes, action);
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new Failure("invalid_argument", `${action}: it is no JSON object`);
  }
  const fields: Readonly<Record<string, unknown>> = { ...document };
  const stated = typeof fields["mediaType"] === "string" ? fields["mediaType"] : mediaType;
  if (
    fields["schemaVersion"] === 1 || stated === mediaTypes.dockerSchema1 || stated === mediaTypes.dockerSchema1Signed
  ) {
    throw new Failure(
      "unimplemented",
      `${action}: it is of Docker's schema 1, which registries gave up: push the image again with a current tool`,
    );
  }
  const index = isIndex(stated);
  const manifest = isManifest(stated);
  if ((index && isManifest(mediaType)) || (manifest && isIndex(mediaType))) {
    throw new Failure("invalid_argument", `${action}: it says that it is ${stated}, who names it says ${mediaType}`);
  }
  // A document that could be read as both would be two images under one digest.
  if ("manifests" in fields && ("layers" in fields || "config" in fields)) {
    throw new Failure("invalid_argument", `${action}: it has the fields of a manifest and of an index`);
  }
  if (index || (!manifest && "manifests" in fields)) {
    return { kind: "index", index: parse(IndexSchema, document, action) };
  }
  if (manifest || "layers" in fields) return { kind: "manifest", manifest: parse(ManifestSchema, document, action) };
  throw new Failure("invalid_argument", `${action}: it is no manifest of an image (media type ${stated ?? "unknown"})`);
}

function isIndex(mediaType: string | undefined): boolean {
  return mediaType === mediaTypes.index || mediaType === mediaTypes.dockerList;
}

function isManifest(mediaType: string | undefined): boolean {
  return mediaType === mediaTypes.manifest || mediaType === mediaTypes.dockerManifest;
}

const layerTypes =
  /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?)$/;

/** @throws unimplemented for a layer that is no archive of files. */
export function checkLayer(layer: Descriptor): void {
  if (layerTypes.test(layer.mediaType)) return;
  throw new Failure(
    "unimplemented",
    `cannot use layer ${layer.digest}: its media type is ${JSON.stringify(layer.mediaType)}: want a tar archive, ` +
      `plain or with gzip or zstd`,
  );
}
