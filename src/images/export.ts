import { createHash } from "node:crypto";
import type { ContentStore } from "../core/content.ts";
import { type Descriptor, type Index, mediaTypes, type Platform } from "../core/descriptor.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { Image } from "../core/image.ts";
import { familiarReference, parseReference } from "../core/reference.ts";
import type { Hold } from "./hold.ts";
import { imageParts } from "./image_parts.ts";
import { blobPath } from "./layout.ts";
import { createLayout, type LayoutWriter } from "./layout_writer.ts";
import { resolveImage } from "./resolve.ts";

export interface ExportOptions {
  readonly content: ContentStore;
  readonly hold: Hold;
  readonly images: readonly Image[];
  /** Which of an image's platforms Docker is told of. */
  readonly platform: Platform;
  /** A folder, or a file that ends in `.tar`. */
  readonly path: string;
}

/** Writes images as an OCI layout; an archive of one is what `docker load` takes, too. @throws as `Images.export`. */
export async function exportImages({ content, hold, images, platform, path }: ExportOptions): Promise<void> {
  const blobs = new Map<Digest, Descriptor>();
  const roots: Descriptor[] = [];
  for (const image of images) {
    const parts = await imageParts(content, hold, image.target);
    for (const [digest, blob] of [...parts.blobs, ...parts.manifests]) blobs.set(digest, blob);
    roots.push(...parts.roots.map((root) => ({ ...root, annotations: { ...root.annotations, ...namesOf(image) } })));
  }
  const index: Index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: roots };
  const layout = await createLayout(path);
  try {
    await addText(layout, "oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    await addText(layout, "index.json", JSON.stringify(index));
    if (path.endsWith(".tar")) {
      await addText(layout, "manifest.json", JSON.stringify(await dockerManifest(content, images, platform)));
    }
    for (const { digest, size } of blobs.values()) {
      await layout.add(blobPath(digest), size, verified(await content.read(digest), digest));
    }
    await layout.finish();
  } catch (error) {
    await layout.abort();
    throw error;
  }
}

/** What an index.json says of a name: containerd reads the one, the specification has the other. */
function namesOf({ name }: Image): Record<string, string> {
  const { tag } = parseReference(name);
  return {
    "io.containerd.image.name": name,
    ...(tag === undefined ? {} : { "org.opencontainers.image.ref.name": tag }),
  };
}

/**
 * What `docker load` reads of an archive. Artifacts and images of other platforms alone are none for it.
 * @see https://github.com/moby/moby/blob/v28.0.0/image/spec/v1.2.md#combined-image-json--filesystem-changeset-format
 */
async function dockerManifest(content: ContentStore, images: readonly Image[], platform: Platform): Promise<object[]> {
  const entries = new Map<Digest, { Config: string; RepoTags: string[]; Layers: string[] }>();
  for (const { name, target } of images) {
    const image = await resolveImage(target, { content, platform }).catch((error: unknown) => {
      if (error instanceof Failure) return undefined;
      throw error;
    });
    if (image === undefined) continue;
    const { manifest: { config, layers }, manifestDigest } = image;
    const entry = entries.get(manifestDigest) ?? {
      Config: blobPath(config.digest),
      RepoTags: [],
      Layers: layers.map(({ digest }) => blobPath(digest)),
    };
    const reference = parseReference(name);
    if (reference.digest === undefined) entry.RepoTags.push(familiarReference(reference));
    entries.set(manifestDigest, entry);
  }
  return [...entries.values()];
}

async function* verified(bytes: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  const { algorithm, hex } = splitDigest(digest);
  const hash = createHash(algorithm);
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest("hex") !== hex) {
    throw new Failure("data_loss", `cannot export ${digest}: its bytes on disk do not match its digest`);
  }
}

async function addText(layout: LayoutWriter, path: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  await layout.add(
    path,
    bytes.length,
    (async function* () {
      yield bytes;
    })(),
  );
}
