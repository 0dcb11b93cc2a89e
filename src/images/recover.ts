import type { ContentStore } from "../core/content.ts";
import type { Descriptor } from "../core/descriptor.ts";
import { mediaTypes } from "../core/descriptor.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { codeOf } from "../core/errors.ts";
import type { Metadata } from "../core/metadata.ts";
import { formatReference, parseReference } from "../core/reference.ts";
import { isThere } from "./blob_state.ts";
import { documentBytes, type ManifestDocument, readManifest } from "./read_manifest.ts";

/** An image that has a name again. */
export interface RecoveredImage {
  readonly name: string;
  readonly digest: Digest;
  /** Whether the name is what the image itself says that it is called; else it is made of the digest. */
  readonly own: boolean;
  /** How many blobs it names that are not in the store: what an index has for other platforms is not counted. */
  readonly missing: number;
}

/** What becomes of the store's images. */
export interface Recovery {
  readonly images: readonly RecoveredImage[];
  /** How many images had names. */
  readonly known: number;
  /** Why nothing is removed or unpacked yet, with the way to go on: `Metadata.conflict`. */
  readonly conflict?: string;
}

interface Found {
  readonly target: Descriptor;
  readonly document: ManifestDocument;
}

/** By which annotations an image says what it is called, the fullest name first. */
const nameAnnotations = ["io.containerd.image.name", "org.opencontainers.image.ref.name"] as const;

/**
 * Gives names to the images of a store whose database was lost: to every index and manifest that no other one and no name
 * leads to. What speaks of another image (signatures, attestations) comes with that one.
 *
 * Everything else that the database held is nowhere else: functions, containers, tokens, tags, which namespace had what.
 */
export async function recoverImages(
  { content, metadata }: { readonly content: ContentStore; readonly metadata: Metadata },
  namespace: string,
): Promise<Recovery> {
  const found = new Map<Digest, Found>();
  for await (const { digest, size } of content.list()) {
    const document = size > documentBytes ? undefined : await documentOf(content, digest);
    if (document !== undefined) {
      found.set(digest, { document, target: { mediaType: mediaTypeOf(document), digest, size } });
    }
  }
  const named = (await metadata.images.all()).map(({ target }) => target.digest);
  const below = new Set<string>(named);
  for (const { document } of found.values()) for (const { digest } of children(document)) below.add(digest);
  const images: RecoveredImage[] = [];
  for (const [digest, { document, target }] of found) {
    if (below.has(digest) || fieldsOf(document).subject !== undefined) continue;
    const said = nameOf(document);
    const free = said !== undefined && await metadata.images.get(namespace, said) === undefined;
    const name = free ? said : `localhost/recovered:${splitDigest(digest).hex.slice(0, 12)}`;
    await metadata.images.put({ namespace, name, target });
    images.push({ name, digest, own: free, missing: await missing(content, found, document) });
  }
  return { images, known: named.length, ...(metadata.conflict && { conflict: metadata.conflict }) };
}

/** @returns undefined for what is no manifest and no index. */
async function documentOf(content: ContentStore, digest: Digest): Promise<ManifestDocument | undefined> {
  try {
    return readManifest(await content.bytes(digest, documentBytes), digest);
  } catch (error) {
    // Layers and configurations; what cannot be read is for `verify` to tell.
    if (["invalid_argument", "unimplemented", "data_loss", "not_found"].includes(codeOf(error))) return undefined;
    throw error;
  }
}

function fieldsOf(document: ManifestDocument) {
  return document.kind === "index" ? document.index : document.manifest;
}

function mediaTypeOf(document: ManifestDocument): string {
  return fieldsOf(document).mediaType ?? mediaTypes[document.kind];
}

function children(document: ManifestDocument): readonly Descriptor[] {
  if (document.kind === "index") return document.index.manifests;
  return [document.manifest.config, ...document.manifest.layers];
}

function nameOf(document: ManifestDocument): string | undefined {
  for (const annotation of nameAnnotations) {
    const said = fieldsOf(document).annotations?.[annotation];
    // A tag alone is no name.
    if (said === undefined || !/[/:]/.test(said)) continue;
    try {
      return formatReference(parseReference(said));
    } catch {
      // Anybody may write anything there.
      continue;
    }
  }
  return undefined;
}

async function missing(
  content: ContentStore,
  found: ReadonlyMap<Digest, Found>,
  document: ManifestDocument,
): Promise<number> {
  let count = 0;
  for (const { digest } of children(document)) {
    const child = found.get(digest);
    if (document.kind === "index") count += child === undefined ? 0 : await missing(content, found, child.document);
    else if (!await isThere(content, digest)) count++;
  }
  return count;
}
