import { type Descriptor, mediaTypes } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { LinkedManifest } from "../core/repository.ts";
import { readManifest } from "../images/read_manifest.ts";
import { refusal } from "./errors.ts";

/** What a manifest or index says, as far as a registry is concerned. */
export interface ManifestContent extends LinkedManifest {
  /** The blobs that it names, with the sizes that it gives them, those apart that are to be had from elsewhere. */
  readonly blobs: ReadonlyMap<Digest, number>;
  /** The manifests that it names. */
  readonly children: readonly Descriptor[];
}

const known: ReadonlySet<string> = new Set([
  mediaTypes.index,
  mediaTypes.manifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
]);

/** Layers that nobody pushes. @see https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#non-distributable-layers */
const elsewhere = /\.nondistributable\.|\.foreign\./;

/**
 * Reads a manifest or index.
 * @param mediaType what it was sent as.
 * @throws MANIFEST_INVALID for another media type, or a document that is none of it.
 */
export function describeManifest(bytes: Uint8Array, digest: Digest, mediaType: string): ManifestContent {
  if (!known.has(mediaType)) {
    throw refusal(
      "MANIFEST_INVALID",
      `cannot take manifest ${digest}: its Content-Type is ${JSON.stringify(mediaType.slice(0, 140))}, ` +
        `want one of ${[...known].join(", ")}`,
    );
  }
  const document = read(bytes, digest, mediaType);
  const { mediaType: stated, subject, annotations } = document.kind === "index" ? document.index : document.manifest;
  if (stated !== undefined && stated !== mediaType) {
    throw refusal(
      "MANIFEST_INVALID",
      `cannot take manifest ${digest}: it says that it is ${JSON.stringify(stated.slice(0, 140))}, ` +
        `and was sent as ${JSON.stringify(mediaType)}`,
    );
  }
  const children = document.kind === "index" ? document.index.manifests : [];
  const blobs = document.kind === "index"
    ? []
    : [document.manifest.config, ...document.manifest.layers].filter((blob) => !elsewhere.test(blob.mediaType));
  const artifactType = document.kind === "index"
    ? document.index.artifactType
    : document.manifest.artifactType || document.manifest.config.mediaType;
  const named = [...blobs, ...children].map(({ digest }) => digest);
  return {
    digest,
    mediaType,
    size: bytes.length,
    artifactType: artifactType || undefined,
    subject: subject?.digest,
    annotations,
    references: [...new Set(named)],
    blobs: new Map(blobs.map(({ digest, size }) => [digest, size])),
    children,
  };
}

function read(bytes: Uint8Array, digest: Digest, mediaType: string): ReturnType<typeof readManifest> {
  try {
    return readManifest(bytes, digest, mediaType);
  } catch (error) {
    if (codeOf(error) === "internal") throw error;
    throw refusal("MANIFEST_INVALID", messageOf(error), { cause: error });
  }
}
