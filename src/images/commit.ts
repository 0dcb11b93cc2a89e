import { createHash } from "node:crypto";
import { pipeline, Readable } from "node:stream";
import { createGzip } from "node:zlib";
import * as v from "valibot";
import type { ContentStore } from "../core/content.ts";
import { type Descriptor, type Manifest, mediaTypes } from "../core/descriptor.ts";
import { type Digest, DigestSchema } from "../core/digest.ts";
import { parse } from "../core/parse.ts";
import { changeConfig, type ContainerConfig } from "./config_changes.ts";
import type { Hold } from "./hold.ts";
import { ingest, ingestBytes } from "./ingest.ts";
import { documentBytes, readJson } from "./read_manifest.ts";
import type { ResolvedImage } from "./resolve.ts";
import { tarEnd } from "./tar_writer.ts";

/** What a new image says of itself. */
export interface CommitSettings {
  /** For example `Ada <ada@example.org>`. */
  readonly author?: string | undefined;
  /** Why it was made; shown in the image's history. */
  readonly message?: string | undefined;
  /** The command whose doing it is; shown in the image's history. */
  readonly createdBy?: string | undefined;
  /** Fields of the configuration that the container had others of than its image (`Cmd`, `Env`, `User`, …). */
  readonly config?: ContainerConfig | undefined;
  /** Dockerfile instructions that change the configuration. @see changeConfig */
  readonly changes?: readonly string[] | undefined;
  /** How the new layer is stored. Default `gzip`. */
  readonly compression?: "gzip" | "none" | undefined;
  /** Default: now. */
  readonly createdAt?: Date | undefined;
}

interface CommitOptions extends CommitSettings {
  readonly content: ContentStore;
  readonly hold: Hold;
  /** The image that it goes on from. */
  readonly base: ResolvedImage;
  /** What it changes of that: a layer's archive. */
  readonly archive: AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal | undefined;
}

const LooseConfigSchema = v.looseObject({
  config: v.nullish(v.looseObject({})),
  history: v.nullish(v.array(v.looseObject({}))),
});

/**
 * Makes an image of an image and what is changed of it: a layer, a configuration and a manifest in the content store.
 * Where nothing changed, it has no new layer.
 * @returns the manifest's descriptor.
 * @throws invalid_argument for changes that are malformed; as `ContentStore.writer`; what reading files throws.
 */
export async function commitImage(options: CommitOptions): Promise<Descriptor> {
  const { content, hold, base, author, message, createdBy } = options;
  const action = `cannot read the configuration of image ${base.manifestDigest}`;
  const bytes = await content.bytes(base.manifest.config.digest, documentBytes);
  const document = parse(LooseConfigSchema, readJson(bytes, action), action);
  // Before anything is written: what is malformed is refused.
  const config = changeConfig({ ...document.config, ...options.config }, options.changes ?? []);
  for (const { digest } of base.layers.map(({ descriptor }) => descriptor)) await hold.content(digest);

  const layer = await writeLayer(options);
  const created = (options.createdAt ?? new Date()).toISOString();
  const note = { ...(author && { author }), ...(message && { comment: message }) };
  const step = { created, created_by: createdBy ?? "", ...note, ...(layer === undefined && { empty_layer: true }) };
  const diffIds = base.layers.map(({ diffId }) => diffId);
  const image = {
    ...document,
    created,
    ...(author && { author }),
    config,
    rootfs: { type: "layers", diff_ids: layer === undefined ? diffIds : [...diffIds, layer.diffId] },
    history: [...document.history ?? [], step],
  };
  const layers = base.layers.map(({ descriptor }) => ({
    ...descriptor,
    mediaType: ociTypes[descriptor.mediaType] ?? descriptor.mediaType,
  }));
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: await writeDocument(options, mediaTypes.config, image),
    layers: layer === undefined ? layers : [...layers, layer.descriptor],
  };
  return await writeDocument(options, mediaTypes.manifest, manifest);
}

/** @returns undefined where nothing changed. */
async function writeLayer({ content, hold, archive: given, compression = "gzip", signal }: CommitOptions) {
  const hash = createHash("sha256");
  let bytes = 0;
  const archive = async function* () {
    for await (const chunk of given) {
      signal?.throwIfAborted();
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  };
  const digest = await ingest(content, hold, compression === "gzip" ? gzip(archive()) : archive());
  // It stays behind as garbage: that it is empty is known only at its end.
  if (bytes === tarEnd.length) return undefined;
  const { size } = await content.info(digest);
  const diffId: Digest = v.parse(DigestSchema, `sha256:${hash.digest("hex")}`);
  const mediaType = compression === "gzip" ? mediaTypes.layerGzip : mediaTypes.layer;
  return { diffId, descriptor: { mediaType, digest, size } };
}

/** The same bytes on each machine with the same zlib: the header has no time. */
async function* gzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const compressed = createGzip();
  let failed: unknown;
  pipeline(Readable.from(source, { objectMode: false }), compressed, (error) => failed = error);
  for await (const chunk of compressed) yield chunk;
  if (failed !== undefined && failed !== null) throw failed;
}

async function writeDocument(
  { content, hold }: CommitOptions,
  mediaType: string,
  document: object,
): Promise<Descriptor> {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return { mediaType, digest: await ingestBytes(content, hold, bytes), size: bytes.length };
}

/** Docker's names mean the same; one manifest has one family of them. */
const ociTypes: Readonly<Record<string, string>> = {
  [mediaTypes.dockerLayer]: mediaTypes.layer,
  [mediaTypes.dockerLayerGzip]: mediaTypes.layerGzip,
  [`${mediaTypes.dockerLayer}.zstd`]: mediaTypes.layerZstd,
};
