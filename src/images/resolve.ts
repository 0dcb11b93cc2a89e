import type { ContentStore } from "../core/content.ts";
import {
  type Descriptor,
  type ImageConfig,
  ImageConfigSchema,
  type Manifest,
  type Platform,
} from "../core/descriptor.ts";
import { chainIds, type Digest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { choosePlatform, formatPlatform, matchPlatform } from "../core/platform.ts";
import { artifactFiles, isArtifact } from "./artifact.ts";
import { checkLayer, documentBytes, readJson, readManifest } from "./read_manifest.ts";

/** How many indexes may lead from one to the next. */
const maxDepth = 4;

/** One image for one platform, with all that its documents say. */
export interface ResolvedImage {
  readonly manifest: Manifest;
  readonly manifestDigest: Digest;
  readonly config: ImageConfig;
  /** Names the stack of all layers: the key of its committed snapshot. Undefined for an image without layers. */
  readonly chainId: Digest | undefined;
  readonly layers: readonly ResolvedLayer[];
}

export interface ResolvedLayer {
  readonly descriptor: Descriptor;
  /** The digest of its archive, uncompressed. */
  readonly diffId: Digest;
  /** Names the stack of layers up to this one. */
  readonly chainId: Digest;
}

export interface ResolveOptions {
  readonly content: ContentStore;
  /** The platform that the image has to suit. */
  readonly platform: Platform;
  /** Brings a document where it is missing. It returns it where that is not in the content store yet. */
  readonly fetch?: (descriptor: Descriptor) => Promise<Uint8Array | undefined>;
}

/**
 * Follows a descriptor to the image for one platform: index → manifest → configuration.
 * @throws invalid_argument for what is no image; not_found for a platform or content that is not there;
 * failed_precondition for an image of another platform; unimplemented for old or foreign forms.
 */
export async function resolveImage(target: Descriptor, options: ResolveOptions): Promise<ResolvedImage> {
  const resolved = await resolveManifest(target, options);
  checkManifest(resolved);
  return await withConfig(resolved, options);
}

/** One image for one platform, before its configuration is known; or an artifact. */
export interface ResolvedManifest {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
}

/**
 * Sees that an image's layers can be unpacked.
 * @param options.artifacts whether it may be an artifact. Default false.
 * @throws invalid_argument for what is no image; unimplemented for old or foreign forms; as `artifactFiles`.
 */
export function checkManifest(
  { descriptor, manifest }: ResolvedManifest,
  { artifacts = false }: { readonly artifacts?: boolean } = {},
): void {
  if (!isArtifact(manifest)) {
    for (const layer of manifest.layers) checkLayer(layer);
  } else if (artifacts) artifactFiles(manifest, descriptor.digest);
  else {
    throw new Failure(
      "invalid_argument",
      `cannot use ${descriptor.digest} as an image: it is an artifact, files alone, which can be mounted ` +
        "(--mount type=image)",
    );
  }
}

/** Reads an image's configuration, which says what its layers have to be. @throws as `resolveImage`. */
export async function withConfig(
  { descriptor, manifest }: ResolvedManifest,
  options: ResolveOptions,
): Promise<ResolvedImage> {
  const config = await readConfig(manifest, descriptor.digest, options);
  const chain = await chainIds(config.rootfs.diff_ids);
  const layers = manifest.layers.map((layer, i): ResolvedLayer => {
    const [diffId, chainId] = [config.rootfs.diff_ids[i], chain[i]];
    if (diffId !== undefined && chainId !== undefined) return { descriptor: layer, diffId, chainId };
    throw unequal(manifest, config, descriptor.digest);
  });
  if (chain.length !== layers.length) throw unequal(manifest, config, descriptor.digest);
  return { manifest, manifestDigest: descriptor.digest, config, chainId: chain.at(-1), layers };
}

/** Follows a descriptor to the manifest for one platform. @throws as `resolveImage`. */
export async function resolveManifest(target: Descriptor, options: ResolveOptions): Promise<ResolvedManifest> {
  let descriptor = target;
  for (let depth = 0; depth <= maxDepth; depth++) {
    const document = readManifest(await readDocument(descriptor, options), descriptor.digest, descriptor.mediaType);
    if (document.kind === "manifest") return { descriptor, manifest: document.manifest };
    descriptor = choosePlatform(document.index.manifests, options.platform);
  }
  throw new Failure(
    "invalid_argument",
    `cannot resolve image ${target.digest}: more than ${maxDepth} indexes lead to it`,
  );
}

async function readConfig(manifest: Manifest, digest: Digest, options: ResolveOptions): Promise<ImageConfig> {
  const action = `cannot read the configuration of image ${digest}`;
  const bytes = await readDocument(manifest.config, options);
  const config = parse(ImageConfigSchema, readJson(bytes, action), action);
  if (matchPlatform(options.platform, config) !== undefined) return config;
  throw new Failure(
    "failed_precondition",
    `cannot use image ${digest}: it is built for ${formatPlatform(config)}, want ${formatPlatform(options.platform)}`,
    { details: { platform: formatPlatform(config) } },
  );
}

/** Reads a manifest or configuration. @throws resource_exhausted for a large one; what `fetch` and the store throw. */
export async function readDocument(
  descriptor: Descriptor,
  { content, fetch }: Pick<ResolveOptions, "content" | "fetch">,
): Promise<Uint8Array> {
  if (descriptor.size > documentBytes) {
    throw new Failure(
      "resource_exhausted",
      `cannot read ${descriptor.digest}: it is said to have ${descriptor.size} bytes, a manifest or configuration has ` +
        `${documentBytes} at most`,
    );
  }
  return await fetch?.(descriptor) ?? await content.bytes(descriptor.digest, documentBytes);
}

function unequal(manifest: Manifest, config: ImageConfig, digest: Digest): Failure {
  return new Failure(
    "invalid_argument",
    `cannot use image ${digest}: it has ${manifest.layers.length} layers, its configuration names ` +
      `${config.rootfs.diff_ids.length}`,
  );
}
