import { statfs } from "node:fs/promises";
import { isImageMount } from "../core/container_mount.ts";
import type { Image } from "../core/image.ts";
import type { Metadata } from "../core/metadata.ts";
import { formatReference, parseReference } from "../core/reference.ts";

/** Which images that no function and no container uses are kept. Default: all. */
export interface RetentionPolicy {
  /** The newest so many names of each repository are kept. */
  readonly keepVersions?: number | undefined;
  /** Names that were pulled, pushed or imported within so many days are kept. */
  readonly keepDays?: number | undefined;
  /** From so many percent of the disk in use on, unused images go, the oldest first … */
  readonly highPercent?: number | undefined;
  /** … until no more than so many are. */
  readonly lowPercent?: number | undefined;
}

export interface Retention {
  readonly metadata: Metadata;
  readonly policy: RetentionPolicy;
  /** How much of the disk is in use, in percent. */
  readonly usedPercent: () => Promise<number>;
  /** Frees what images held whose names are gone. */
  readonly collect: () => Promise<unknown>;
  readonly onRemoved: (image: Image, why: string) => void;
}

const dayMs = 24 * 3600_000;

/** Removes the names of images that a policy does not keep. */
export async function retain({ metadata, policy, usedPercent, collect, onRemoved }: Retention): Promise<void> {
  const remove = async (image: Image, why: string) => {
    // It may have been deployed, or pulled anew, since it was listed.
    const now = await metadata.images.get(image.namespace, image.name);
    if (now === undefined || now.updatedAt.getTime() !== image.updatedAt.getTime()) return;
    if ((await uses(metadata))(image)) return;
    if (await metadata.images.delete(image.namespace, image.name)) onRemoved(image, why);
  };
  for (const image of outdated(await unused(metadata), policy, Date.now())) {
    await remove(image, "the policy keeps newer ones");
  }
  const { highPercent, lowPercent = highPercent } = policy;
  if (highPercent === undefined || lowPercent === undefined || await usedPercent() < highPercent) return;
  await collect();
  for (const image of await unused(metadata)) {
    if (await usedPercent() <= lowPercent) return;
    await remove(image, "the disk is full");
    await collect();
  }
}

/** Those of some unused images that a policy does not keep. @param images the oldest first. */
export function outdated(images: readonly Image[], policy: RetentionPolicy, nowMs: number): readonly Image[] {
  const { keepVersions, keepDays } = policy;
  if (keepVersions === undefined && keepDays === undefined) return [];
  const seen = new Map<string, number>();
  return images.toReversed().filter((image) => {
    const { registry, repository } = parseReference(image.name);
    const repositoryKey = `${image.namespace} ${registry}/${repository}`;
    const newer = seen.get(repositoryKey) ?? 0;
    seen.set(repositoryKey, newer + 1);
    const young = keepDays !== undefined && image.updatedAt.getTime() > nowMs - keepDays * dayMs;
    return !young && (keepVersions === undefined || newer >= keepVersions);
  }).reverse();
}

/** How much of a folder's filesystem is in use, as df(1) tells it. */
export async function usedPercentOf(folder: string): Promise<number> {
  const { blocks, bfree, bavail } = await statfs(folder);
  const used = blocks - bfree;
  return used + bavail === 0 ? 0 : used / (used + bavail) * 100;
}

/** Images that nothing uses, the oldest first. */
async function unused(metadata: Metadata): Promise<readonly Image[]> {
  const isUsed = await uses(metadata);
  return (await metadata.images.all()).filter((image) => !isUsed(image))
    .sort((a, b) => a.updatedAt.getTime() - b.updatedAt.getTime());
}

/** Tells of an image whether a function or container has its name, or its content. */
async function uses(metadata: Metadata): Promise<(image: Image) => boolean> {
  const used = new Set<string>();
  const named = (namespace: string, name: string) => `${namespace} ${name}`;
  for (const { namespace, image, digest } of await metadata.functions.images()) {
    used.add(digest).add(named(namespace, formatReference(parseReference(image))));
  }
  for (const { namespace, image, imageDigest, settings } of await metadata.containers.list()) {
    if (imageDigest !== undefined) used.add(imageDigest);
    if (image !== undefined) used.add(named(namespace, formatReference(parseReference(image))));
    for (const { source, digest = "" } of (settings?.mounts ?? []).filter(isImageMount)) {
      used.add(digest).add(named(namespace, formatReference(parseReference(source))));
    }
  }
  return ({ namespace, name, target }) => used.has(target.digest) || used.has(named(namespace, name));
}
