import type { ContentStore } from "../core/content.ts";
import type { Descriptor, Platform } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import type { Distribution, DistributionOptions } from "../core/distribution.ts";
import { Failure } from "../core/errors.ts";
import type { Image } from "../core/image.ts";
import { type ImageReference, parseReference } from "../core/reference.ts";
import type { Hold } from "./hold.ts";
import { type ImageParts, imageParts } from "./image_parts.ts";
import type { OnProgress } from "./progress.ts";
import { documentBytes } from "./read_manifest.ts";
import { resolveManifest } from "./resolve.ts";

/** How many blobs are on their way at once. */
const concurrency = 3;

export interface PushParts {
  readonly content: ContentStore;
  readonly distribution: Distribution;
  readonly hold: Hold;
  readonly image: Image;
  /** Where it goes. */
  readonly to: ImageReference;
  /** Which one of an index. Default: all of it. */
  readonly platform?: Platform | undefined;
  /** The names that other images have here: what they have at the same registry need not be sent. */
  readonly others: readonly Image[];
  readonly onProgress?: OnProgress | undefined;
  readonly options: DistributionOptions;
}

/**
 * Brings an image to a registry: its blobs, then its manifests, and the name last, so that nobody sees half of it.
 * @returns what the name points at there: the image, or the one manifest of its index that is here.
 * @throws failed_precondition where some manifests of an index are here and others are not; what the registry answers.
 */
export async function pushImage(parts: PushParts): Promise<Descriptor> {
  const { content, distribution, to, options } = parts;
  const { root, blobs, manifests } = await chosen(parts);
  const sources = await mountable(parts);
  await pushBlobs([...blobs.values()].sort((a, b) => b.size - a.size), parts, sources);
  for (const manifest of manifests.values()) {
    const bytes = await content.bytes(manifest.digest, documentBytes);
    const { tag: _, ...untagged } = to;
    const reference = manifest.digest === root.digest ? to : { ...untagged, digest: manifest.digest };
    await distribution.pushManifest(reference, manifest, bytes, options);
  }
  return root;
}

/** What goes: all of the image, or what of it is for the platform that was asked for. */
async function chosen({ content, hold, image, platform }: PushParts): Promise<ImageParts & { root: Descriptor }> {
  await hold.content(image.target.digest);
  const target = platform === undefined
    ? image.target
    : (await resolveManifest(image.target, { content, platform })).descriptor;
  const parts = await imageParts(content, hold, target);
  const [root, ...more] = parts.roots;
  if (root !== undefined && more.length === 0) return { ...parts, root };
  throw new Failure(
    "failed_precondition",
    `cannot push ${image.name}: ${parts.roots.length} of its platforms are here and others are not: name the one to push, ` +
      `or pull all of them`,
  );
}

async function pushBlobs(
  blobs: readonly Descriptor[],
  { content, distribution, to, onProgress, options }: PushParts,
  sources: ReadonlyMap<Digest, readonly string[]>,
): Promise<void> {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const queue = blobs.values();
  const work = async () => {
    for (const blob of queue) {
      const { digest, size: total } = blob;
      const step = (phase: "upload" | "exists" | "mounted" | "done", bytes = total) =>
        onProgress?.({ digest, phase, bytes, total });
      try {
        signal.throwIfAborted();
        const arrival = await distribution.pushBlob(to, blob, (offset) => bytesFrom(content, digest, offset), {
          ...options,
          signal,
          from: sources.get(digest) ?? [],
          onSent: (bytes) => step("upload", bytes),
        });
        step(arrival === "uploaded" ? "done" : arrival);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: concurrency }, work));
  if (results.every(({ status }) => status === "fulfilled")) return;
  throw stop.signal.aborted ? stop.signal.reason : options.signal?.reason;
}

async function* bytesFrom(content: ContentStore, digest: Digest, offset: number): AsyncGenerator<Uint8Array> {
  yield* await content.read(digest, { offset });
}

/** The repositories of the same registry that have a blob, as far as the images here tell. */
async function mountable({ content, hold, to, others }: PushParts): Promise<ReadonlyMap<Digest, readonly string[]>> {
  const found = new Map<Digest, Set<string>>();
  for (const other of others) {
    const { registry, repository } = parseReference(other.name);
    if (registry !== to.registry || repository === to.repository) continue;
    const parts = await imageParts(content, hold, other.target).catch((error: unknown) => {
      // Nothing is lost but a shortcut.
      if (error instanceof Failure) return undefined;
      throw error;
    });
    for (const digest of parts?.blobs.keys() ?? []) {
      const repositories = found.get(digest) ?? new Set();
      found.set(digest, repositories.add(repository));
    }
  }
  return new Map([...found].map(([digest, repositories]) => [digest, [...repositories]]));
}
