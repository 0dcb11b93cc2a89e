import { type Descriptor, IndexSchema } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { choosePlatform } from "../core/platform.ts";
import { formatReference, type ImageReference, parseReference } from "../core/reference.ts";
import { isArtifact } from "./artifact.ts";
import { type ImportedImage, type ImportOptions, severalImages, unnamed } from "./import_parts.ts";
import { ingest } from "./ingest.ts";
import { blobPath, type Layout, readSmall } from "./layout.ts";
import { checkLayer, documentBytes, readJson, readManifest } from "./read_manifest.ts";

const maxDepth = 4;
/** containerd writes the whole name here; the specification's own annotation may be a tag alone. */
const fullName = "io.containerd.image.name";
const refName = "org.opencontainers.image.ref.name";

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md */
export async function importOciLayout(layout: Layout, options: ImportOptions): Promise<readonly ImportedImage[]> {
  const action = `cannot import ${JSON.stringify(options.path)}`;
  const bytes = await readSmall(layout, "index.json", documentBytes);
  const { manifests } = parse(IndexSchema, readJson(bytes ?? new Uint8Array(), action), action);
  if (manifests.length === 0) throw new Failure("invalid_argument", `${action}: its index.json names no image`);

  const named = Map.groupBy(manifests, (manifest) => {
    const reference = nameOf(manifest);
    return reference === undefined ? undefined : formatReference(reference);
  });
  if (options.name !== undefined && named.size > 1) {
    throw severalImages(options.path, [...named.keys()].map((name) => name ?? "one without a name"));
  }
  const images: ImportedImage[] = [];
  for (const group of named.values()) {
    // Several manifests of one name are one image for several platforms.
    const target = group.length === 1 ? group[0] : choosePlatform(group, options.platform);
    const reference = options.name ?? (target === undefined ? undefined : nameOf(target));
    if (target === undefined || reference === undefined) throw unnamed(options.path);
    await new Walk(layout, options).take(target, 0);
    const { annotations: _, ...descriptor } = target;
    images.push({ reference, target: descriptor });
  }
  return images;
}

function nameOf({ annotations }: Descriptor): ImageReference | undefined {
  const full = annotations?.[fullName];
  if (full !== undefined && full !== "") return parseReference(full);
  const name = annotations?.[refName];
  // A single word is a tag, and says nothing about the repository.
  return name === undefined || !/[:/@]/.test(name) ? undefined : parseReference(name);
}

/** Takes in a descriptor and all that it refers to. */
class Walk {
  readonly #layout: Layout;
  readonly #options: ImportOptions;

  constructor(layout: Layout, options: ImportOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  async take(descriptor: Descriptor, depth: number): Promise<void> {
    if (depth > maxDepth) {
      throw new Failure("invalid_argument", `cannot import: over ${maxDepth} indexes in each other`);
    }
    if (descriptor.size > documentBytes) {
      throw new Failure("resource_exhausted", `cannot import manifest ${descriptor.digest}: it is too large`);
    }
    await this.#blob(descriptor);
    const bytes = await this.#options.content.bytes(descriptor.digest, documentBytes);
    const document = readManifest(bytes, descriptor.digest, descriptor.mediaType);
    if (document.kind === "manifest") {
      await this.#blob(document.manifest.config);
      // What builders say of an image, and artifacts, have layers of any kind.
      const runs = descriptor.platform?.os !== "unknown" && !isArtifact(document.manifest);
      for (const layer of document.manifest.layers) {
        if (runs) checkLayer(layer);
        await this.#blob(layer);
      }
      return;
    }
    // A copy of one platform keeps the index whole, and has only that manifest of it.
    const there: Descriptor[] = [];
    for (const child of document.index.manifests) {
      if (await this.#layout.size(blobPath(child.digest)) !== undefined) there.push(child);
    }
    if (there.length === 0) throw missing(descriptor.digest, "none of its manifests is there");
    for (const child of there) await this.take(child, depth + 1);
  }

  async #blob({ digest, size }: Descriptor): Promise<void> {
    const path = blobPath(digest);
    const found = await this.#layout.size(path);
    if (found === undefined) throw missing(digest, `there is no ${JSON.stringify(path)}`);
    if (found !== size) {
      throw new Failure("data_loss", `cannot import ${digest}: it has ${found} bytes on disk, want ${size}`);
    }
    await ingest(this.#options.content, this.#options.hold, this.#layout.read(path), { digest, size });
  }
}

function missing(digest: Digest, why: string): Failure {
  return new Failure("not_found", `cannot import ${digest}: ${why}: the layout is not complete`);
}
