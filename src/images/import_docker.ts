import * as v from "valibot";
import { type Descriptor, type ImageConfig, ImageConfigSchema, type Manifest, mediaTypes } from "../core/descriptor.ts";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { parseReference } from "../core/reference.ts";
import { type ImportedImage, type ImportOptions, severalImages, unnamed } from "./import_parts.ts";
import { ingest, ingestBytes } from "./ingest.ts";
import { type Layout, readSmall } from "./layout.ts";
import { documentBytes, readJson } from "./read_manifest.ts";

/** @see https://github.com/moby/moby/blob/v28.0.0/image/spec/v1.2.md#combined-image-json--filesystem-changeset-format */
const ArchiveSchema = v.array(v.object({
  Config: v.string(),
  RepoTags: v.nullish(v.array(v.string()), []),
  Layers: v.pipe(v.array(v.string()), v.maxLength(500, "an image may have 500 layers at most")),
}));
type ArchiveImage = v.InferOutput<typeof ArchiveSchema>[number];

/** Takes in what `docker save` wrote: the images get manifests of their own, since the archive has none. */
export async function importDockerArchive(layout: Layout, options: ImportOptions): Promise<readonly ImportedImage[]> {
  const action = `cannot import ${JSON.stringify(options.path)}`;
  const bytes = await readSmall(layout, "manifest.json", documentBytes);
  const archive = parse(ArchiveSchema, readJson(bytes ?? new Uint8Array(), action), action);
  if (archive.length === 0) throw new Failure("invalid_argument", `${action}: its manifest.json names no image`);
  if (options.name !== undefined && archive.length > 1) {
    throw severalImages(options.path, archive.map(({ RepoTags, Config }) => RepoTags[0] ?? Config));
  }
  const images: ImportedImage[] = [];
  for (const image of archive) {
    const references = options.name === undefined ? image.RepoTags.map(parseReference) : [options.name];
    if (references.length === 0) throw unnamed(options.path);
    const target = await takeImage(layout, image, options);
    images.push(...references.map((reference) => ({ reference, target })));
  }
  return images;
}

async function takeImage(layout: Layout, image: ArchiveImage, options: ImportOptions): Promise<Descriptor> {
  const { content, hold } = options;
  const bytes = await readSmall(layout, image.Config, documentBytes);
  if (bytes === undefined) throw missing(options.path, image.Config);
  const action = `cannot import ${JSON.stringify(options.path)}: ${JSON.stringify(image.Config)}`;
  const config = parse(ImageConfigSchema, readJson(bytes, action), action);
  if (config.rootfs.diff_ids.length !== image.Layers.length) {
    throw new Failure(
      "invalid_argument",
      `${action}: the archive has ${image.Layers.length} layers, the configuration names ${config.rootfs.diff_ids.length}`,
    );
  }
  const layers: Descriptor[] = [];
  for (const [i, path] of image.Layers.entries()) layers.push(await takeLayer(layout, path, i, config, options));
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: {
      mediaType: mediaTypes.config,
      digest: await ingestBytes(content, hold, bytes),
      size: bytes.length,
    },
    layers,
  };
  const document = new TextEncoder().encode(JSON.stringify(manifest));
  const digest = await ingestBytes(content, hold, document);
  return { mediaType: mediaTypes.manifest, digest, size: document.length };
}

async function takeLayer(
  layout: Layout,
  path: string,
  index: number,
  config: ImageConfig,
  { content, hold, path: archive }: ImportOptions,
): Promise<Descriptor> {
  const size = await layout.size(path);
  if (size === undefined) throw missing(archive, path);
  const mediaType = await formOf(layout, path);
  // An archive that is not compressed is the one that the configuration names.
  const diffId = mediaType === mediaTypes.layer ? config.rootfs.diff_ids[index] : undefined;
  const digest = await ingest(
    content,
    hold,
    layout.read(path),
    diffId === undefined ? { size } : { digest: diffId, size },
  );
  return { mediaType, digest, size };
}

async function formOf(layout: Layout, path: string): Promise<string> {
  for await (const [a, b, c, d] of layout.read(path)) {
    if (a === 0x1f && b === 0x8b) return mediaTypes.layerGzip;
    if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return mediaTypes.layerZstd;
    break;
  }
  return mediaTypes.layer;
}

function missing(archive: string, path: string): Failure {
  return new Failure("not_found", `cannot import ${JSON.stringify(archive)}: it has no ${JSON.stringify(path)}`);
}
