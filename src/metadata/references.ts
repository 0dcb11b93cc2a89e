import { type ContainerMount, isImageMount } from "../core/container_mount.ts";
import { type Labels, referencesOf, rootLabel } from "../core/labels.ts";

/*
 * What records keep from garbage collection, in the words of a lease. A collection takes it from the records that it
 * finds; stores tell the write barrier of it when they write one.
 */

export function* referencesOfImage({ target, labels }: {
  readonly target: { readonly digest: string };
  readonly labels: Labels;
}): Generator<string> {
  yield `content/${target.digest}`;
  yield* referencesOf(labels);
}

export function* referencesOfContainer({ imageDigest, settings, snapshotter, snapshotKey, labels }: {
  readonly imageDigest?: string | undefined;
  readonly settings?: { readonly mounts: readonly ContainerMount[] } | undefined;
  readonly snapshotter: string;
  readonly snapshotKey?: string | undefined;
  readonly labels: Labels;
}): Generator<string> {
  if (imageDigest !== undefined) yield `content/${imageDigest}`;
  yield* referencesOfMounts(settings?.mounts ?? []);
  if (snapshotKey !== undefined) yield `snapshot/${snapshotter}/${snapshotKey}`;
  yield* referencesOf(labels);
}

export function* referencesOfMounts(mounts: readonly ContainerMount[]): Generator<string> {
  for (const { digest } of mounts.filter(isImageMount)) if (digest !== undefined) yield `content/${digest}`;
}

/** What a snapshot keeps as long as it is kept: with `rootLabel` itself, too. */
export function* referencesOfSnapshot(
  snapshotter: string,
  { key, parent, labels }: { readonly key: string; readonly parent?: string | undefined; readonly labels: Labels },
): Generator<string> {
  if (Object.hasOwn(labels, rootLabel)) yield `snapshot/${snapshotter}/${key}`;
  if (parent !== undefined) yield `snapshot/${snapshotter}/${parent}`;
  yield* referencesOf(labels);
}
