import type { ContentStore } from "../core/content.ts";
import type { Descriptor } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import type { Hold } from "./hold.ts";
import { documentBytes, readManifest } from "./read_manifest.ts";

const maxDepth = 4;

/** What an image consists of, as far as it is here. */
export interface ImageParts {
  /** The image itself; or, where an index names more than is here, those of its manifests that are. */
  readonly roots: readonly Descriptor[];
  /** Configurations and layers. */
  readonly blobs: ReadonlyMap<Digest, Descriptor>;
  /** Manifests and indexes, each behind those that it names. */
  readonly manifests: ReadonlyMap<Digest, Descriptor>;
}

/**
 * Follows a descriptor to all that it names, and holds it.
 * @throws not_found where nothing of it is here; invalid_argument for what is no image.
 */
export async function imageParts(
  content: ContentStore,
  hold: Hold,
  target: Descriptor,
  depth = 0,
): Promise<ImageParts> {
  if (depth > maxDepth) {
    throw new Failure("invalid_argument", `cannot read ${target.digest}: over ${maxDepth} indexes in each other`);
  }
  await hold.content(target.digest);
  const document = readManifest(await content.bytes(target.digest, documentBytes), target.digest, target.mediaType);
  const blobs = new Map<Digest, Descriptor>();
  if (document.kind === "manifest") {
    for (const blob of [document.manifest.config, ...document.manifest.layers]) {
      await hold.content(blob.digest);
      const { size } = await content.info(blob.digest);
      blobs.set(blob.digest, { ...blob, size });
    }
    return { roots: [target], blobs, manifests: new Map([[target.digest, target]]) };
  }
  const roots: Descriptor[] = [];
  const manifests = new Map<Digest, Descriptor>();
  let complete = true;
  for (const child of document.index.manifests) {
    try {
      const parts = await imageParts(content, hold, child, depth + 1);
      for (const [digest, blob] of parts.blobs) blobs.set(digest, blob);
      for (const [digest, manifest] of parts.manifests) manifests.set(digest, manifest);
      roots.push(...parts.roots);
      complete &&= parts.roots.includes(child);
    } catch (error) {
      if (codeOf(error) !== "not_found") throw error;
      complete = false;
    }
  }
  if (roots.length === 0) throw new Failure("not_found", `cannot read ${target.digest}: no platform of it is here`);
  // The other platforms were never pulled; an index that names them would not be a whole one.
  if (!complete) return { roots, blobs, manifests };
  return { roots: [target], blobs, manifests: manifests.set(target.digest, target) };
}
