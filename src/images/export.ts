import { createHash } from "node:crypto";
import type { ContentStore } from "../core/content.ts";
import { type Descriptor, type Index, mediaTypes } from "../core/descriptor.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import type { Image } from "../core/image.ts";
import { parseReference } from "../core/reference.ts";
import type { Hold } from "./hold.ts";
import { createLayout, type LayoutWriter } from "./layout_writer.ts";
import { documentBytes, readManifest } from "./read_manifest.ts";

export interface ExportOptions {
  readonly content: ContentStore;
  readonly hold: Hold;
  readonly image: Image;
  /** A folder, or a file that ends in `.tar`. */
  readonly path: string;
}

/** Writes an image as an OCI layout. @throws as `Images.export`. */
export async function exportImage({ content, hold, image, path }: ExportOptions): Promise<void> {
  const plan = await collect(content, hold, image.target);
  const { tag } = parseReference(image.name);
  const annotations = {
    "io.containerd.image.name": image.name,
    ...(tag === undefined ? {} : { "org.opencontainers.image.ref.name": tag }),
  };
  const index: Index = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: plan.roots.map((root) => ({ ...root, annotations: { ...root.annotations, ...annotations } })),
  };
  const layout = await createLayout(path);
  try {
    await addText(layout, "oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    await addText(layout, "index.json", JSON.stringify(index));
    for (const { digest, size } of plan.blobs.values()) {
      const { algorithm, hex } = splitDigest(digest);
      await layout.add(`blobs/${algorithm}/${hex}`, size, verified(await content.read(digest), digest));
    }
    await layout.finish();
  } catch (error) {
    await layout.abort();
    throw error;
  }
}

/** What has to be written. */
interface Plan {
  /** What `index.json` names: the image itself, or the manifests of its index that are here. */
  readonly roots: readonly Descriptor[];
  readonly blobs: ReadonlyMap<Digest, Descriptor>;
}

async function collect(content: ContentStore, hold: Hold, target: Descriptor): Promise<Plan> {
  const blobs = new Map<Digest, Descriptor>();
  await hold.content(target.digest);
  const document = readManifest(await content.bytes(target.digest, documentBytes), target.digest, target.mediaType);
  blobs.set(target.digest, target);
  if (document.kind === "manifest") {
    for (const blob of [document.manifest.config, ...document.manifest.layers]) {
      await hold.content(blob.digest);
      blobs.set(blob.digest, await known(content, blob));
    }
    return { roots: [target], blobs };
  }
  const roots: Descriptor[] = [];
  let complete = true;
  for (const child of document.index.manifests) {
    try {
      const plan = await collect(content, hold, child);
      for (const [digest, blob] of plan.blobs) blobs.set(digest, blob);
      roots.push(...plan.roots);
    } catch (error) {
      if (codeOf(error) !== "not_found") throw error;
      complete = false;
    }
  }
  if (roots.length === 0) throw new Failure("not_found", `cannot export ${target.digest}: no platform of it is here`);
  if (complete) return { roots: [target], blobs };
  // The other platforms were never pulled; an index that names them would not be a whole one.
  blobs.delete(target.digest);
  return { roots, blobs };
}

async function known(content: ContentStore, blob: Descriptor): Promise<Descriptor> {
  const { size } = await content.info(blob.digest);
  return { ...blob, size };
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
