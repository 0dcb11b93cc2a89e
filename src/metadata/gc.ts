import type { ContentInfo, ContentStore } from "../core/content.ts";
import { isDigest } from "../core/digest.ts";
import { codeOf, type ErrorCode, Failure } from "../core/errors.ts";
import { referencesOf, rootLabel } from "../core/labels.ts";
import type { Metadata } from "../core/metadata.ts";
import { ownRepository } from "../core/own_registry.ts";
import type { Repository } from "../core/repository.ts";
import type { SharedLock } from "../core/shared_lock.ts";
import type { SnapshotInfo, Snapshotter } from "../core/snapshotter.ts";
import { Slice } from "../linux/slice.ts";
import { Reachable } from "./reachable.ts";

export interface GarbageCollection {
  readonly metadata: Metadata;
  readonly content: ContentStore;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  /** Milliseconds for which what is new stays, whoever refers to it. Default one hour. */
  readonly graceMs?: number;
  /** Milliseconds for which an ingest may be taken up again. Default one day. */
  readonly ingestGraceMs?: number;
  /** Milliseconds for which what no tag leads to stays in a repository after its last use. Default one day. */
  readonly untaggedGraceMs?: number;
  /** Whether to tell what would be removed, and to remove nothing. */
  readonly dryRun?: boolean;
  /** Had alone between a look at leases and what is removed by it, a few things at a time. */
  readonly lock?: SharedLock;
  readonly signal?: AbortSignal | undefined;
}

/** What was removed, or would be. */
export interface Collected {
  readonly blobs: number;
  /** Bytes of those blobs. */
  readonly bytes: number;
  /** `<snapshotter>/<key>`. */
  readonly snapshots: readonly string[];
  readonly ingests: readonly string[];
  /** How many leases had expired. */
  readonly leases: number;
  /** What could not be removed, and why. The next collection tries again. */
  readonly problems: readonly { readonly what: string; readonly error: unknown }[];
}

/** After as many removals, or some milliseconds, leases and roots are read again. */
const recheckAfter = 16;

/**
 * Removes what nothing refers to: blobs and committed snapshots that no image, function, container, repository or lease
 * reaches, and old ingests without a lease. Active snapshots and views belong to who made them, and keep what is below them.
 *
 * Whoever takes up something that is there already leases it before looking. Leases and roots are read again for every few
 * removals, and no lease is taken between that look and these removals, nor has anybody to wait longer than for these.
 *
 * @throws failed_precondition where database and folder do not belong together; data_loss for an image whose documents
 * cannot be read, since nobody knows then what it needs.
 */
export async function collectGarbage(options: GarbageCollection): Promise<Collected> {
  const { metadata } = options;
  if (metadata.conflict !== undefined) {
    throw new Failure("failed_precondition", `cannot collect garbage: ${metadata.conflict}`);
  }
  using collection = new Collection(options);
  if (options.dryRun !== true) await collection.pruneRepositories();
  await collection.mark();
  await collection.removeSnapshots();
  await collection.removeBlobs();
  await collection.removeIngests();
  return collection.collected;
}

class Collection implements Disposable {
  readonly collected = {
    blobs: 0,
    bytes: 0,
    snapshots: [] as string[],
    ingests: [] as string[],
    leases: 0,
    problems: [] as { what: string; error: unknown }[],
  };
  readonly #options: GarbageCollection;
  readonly #reachable: Reachable;
  readonly #startedMs = Date.now();
  /** The database answers at once, so that nothing else would turn the event loop. */
  readonly #slice: Slice;
  /** `content/…`, `snapshot/…/…`, `ingest/…`: what leases, containers and labels hold. */
  #held: ReadonlySet<string> = new Set();
  /** What the labels of snapshots hold that are needed themselves. */
  readonly #labelled = new Set<string>();
  readonly #expired = new Set<string>();
  #sinceMark = 0;
  /** Whether nobody can have leased anything since the last look. */
  #fresh = false;
  #alone: Disposable | undefined;

  constructor(options: GarbageCollection) {
    this.#options = options;
    this.#reachable = new Reachable(options.content);
    this.#slice = new Slice(options.signal);
  }

  /** Lets repositories of the registry forget what no tag leads to. */
  async pruneRepositories(): Promise<void> {
    const { metadata, untaggedGraceMs = 24 * 3600_000 } = this.#options;
    const tagged = new Map<string, string[]>();
    for (const { namespace, name, target } of await metadata.images.all()) {
      const repository = ownRepository(name);
      if (repository === undefined) continue;
      const key = `${namespace}/${repository}`;
      tagged.set(key, [...tagged.get(key) ?? [], target.digest]);
    }
    const of = ({ namespace, repository }: Repository) => tagged.get(`${namespace}/${repository}`) ?? [];
    await metadata.repositories.prune(of, new Date(this.#startedMs - untaggedGraceMs));
  }

  /** Reads leases and roots. Leases first: a finished pull names its image before it gives up its lease. */
  async mark(): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const { leases, images, functions, containers } = this.#options.metadata;
    const held = new Set<string>();
    for (const { id, expiresAt, resources } of await leases.list()) {
      if (expiresAt.getTime() <= this.#startedMs) {
        if (this.#options.dryRun !== true) await leases.delete(id);
        this.#expired.add(id);
      } else for (const resource of resources) held.add(resource);
    }
    for (const { target, labels } of await images.all()) {
      if (this.#slice.over) await this.#slice.next();
      await this.#reachable.add(target.digest);
      for (const reference of referencesOf(labels)) await this.#hold(held, reference);
    }
    for (const { digest } of await functions.images()) if (isDigest(digest)) await this.#reachable.add(digest);
    for (const { imageDigest, snapshotter, snapshotKey, labels } of await containers.list()) {
      if (this.#slice.over) await this.#slice.next();
      for (const reference of referencesOf(labels)) await this.#hold(held, reference);
      if (imageDigest !== undefined && isDigest(imageDigest)) await this.#reachable.add(imageDigest);
      if (snapshotKey !== undefined) held.add(`snapshot/${snapshotter}/${snapshotKey}`);
    }
    this.#held = held;
    this.collected.leases = this.#expired.size;
    this.#sinceMark = 0;
  }

  async removeSnapshots(): Promise<void> {
    const found = new Map<Snapshotter, ReadonlyMap<string, SnapshotInfo>>();
    for (const snapshotter of this.#options.snapshotters.values()) {
      await this.#attempt(`snapshots of ${snapshotter.id}`, async () => {
        found.set(snapshotter, new Map((await snapshotter.walk()).map((info) => [info.key, info])));
      });
    }
    const neededOf = (snapshotter: Snapshotter, all: ReadonlyMap<string, SnapshotInfo>) =>
      withAncestors([...all.values()].filter((info) => this.#needs(snapshotter, info)), all);
    // One snapshot's labels may hold another, whose labels hold a third.
    for (let before = -1; before !== this.#labelled.size;) {
      before = this.#labelled.size;
      for (const [snapshotter, all] of found) {
        for (const key of neededOf(snapshotter, all)) {
          for (const reference of referencesOf(all.get(key)?.labels ?? {})) {
            await this.#hold(this.#labelled, reference);
          }
        }
      }
    }
    for (const [snapshotter, all] of found) {
      const needed = neededOf(snapshotter, all);
      // Children first: a parent cannot be removed before them.
      const garbage = [...all.values()].filter(({ key }) => !needed.has(key)).sort((a, b) =>
        depth(b, all) - depth(a, all)
      );
      for (const info of garbage) {
        await this.#remove(`snapshot ${snapshotter.id}/${info.key}`, async () => {
          // It may have been labelled since it was listed.
          if (this.#needs(snapshotter, await snapshotter.stat(info.key))) return;
          if (this.#options.dryRun !== true) await snapshotter.remove(info.key);
          this.collected.snapshots.push(`${snapshotter.id}/${info.key}`);
        });
      }
      this.#letOthers();
      if (this.#options.dryRun === true) continue;
      await this.#attempt(`folders of ${snapshotter.id}`, async () => void await snapshotter.cleanup());
    }
  }

  async removeBlobs(): Promise<void> {
    this.#letOthers();
    const garbage: ContentInfo[] = [];
    for await (const info of this.#options.content.list()) {
      if (!this.#reachable.blobs.has(info.digest) && this.#isOld(info.createdAt)) garbage.push(info);
    }
    for (const { digest, size } of garbage) {
      await this.#remove(`blob ${digest}`, async () => {
        if (this.#reachable.blobs.has(digest) || this.#holds(`content/${digest}`)) return;
        if (await this.#options.metadata.repositories.links(digest)) return;
        if (this.#options.dryRun !== true) await this.#options.content.delete(digest);
        this.collected.blobs++;
        this.collected.bytes += size;
      });
    }
  }

  async removeIngests(): Promise<void> {
    this.#letOthers();
    const { content, ingestGraceMs = 24 * 3600_000 } = this.#options;
    for (const { ref, startedAt } of await content.ingests()) {
      if (!this.#isOld(startedAt, ingestGraceMs)) continue;
      await this.#remove(`ingest ${ref}`, async () => {
        if (this.#holds(`ingest/${ref}`)) return;
        if (this.#options.dryRun !== true) await content.abort(ref);
        this.collected.ingests.push(ref);
      });
    }
  }

  #needs({ id }: Snapshotter, { key, kind, createdAt, labels }: SnapshotInfo): boolean {
    return kind !== "committed" || !this.#isOld(createdAt) || this.#reachable.chains.has(key) ||
      Object.hasOwn(labels, rootLabel) || this.#holds(`snapshot/${id}/${key}`);
  }

  /** A label that names an image's content means all that this names. */
  async #hold(held: Set<string>, resource: string): Promise<void> {
    held.add(resource);
    const digest = resource.replace(/^content\//, "");
    if (isDigest(digest)) await this.#reachable.add(digest);
  }

  #holds(resource: string): boolean {
    return this.#held.has(resource) || this.#labelled.has(resource);
  }

  #isOld(at: Date, graceMs = this.#options.graceMs ?? 3600_000): boolean {
    return at.getTime() < this.#startedMs - graceMs;
  }

  /**
   * Removes one thing, by what leases and roots say now. Where they cannot be read, the collection ends here.
   * One removal that fails does not keep the rest; what is gone already, or in somebody's hands, is no failure.
   */
  async #remove(what: string, action: () => Promise<void>): Promise<void> {
    if (this.#slice.over) {
      this.#letOthers();
      await this.#slice.next();
    }
    if (!this.#fresh || this.#sinceMark >= recheckAfter) {
      this.#letOthers();
      this.#alone = await this.#options.lock?.exclusive();
      await this.mark();
      this.#fresh = true;
    }
    this.#sinceMark++;
    await this.#attempt(what, action, ["not_found", "unavailable"]);
  }

  /** Gives the lock back: what is removed after this wants another look. */
  #letOthers(): void {
    this.#fresh = false;
    this.#alone?.[Symbol.dispose]();
    this.#alone = undefined;
  }

  [Symbol.dispose](): void {
    this.#letOthers();
  }

  async #attempt(what: string, action: () => Promise<void>, expected: readonly ErrorCode[] = []): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (!expected.includes(codeOf(error))) this.collected.problems.push({ what, error });
    }
  }
}

function withAncestors(infos: readonly SnapshotInfo[], all: ReadonlyMap<string, SnapshotInfo>): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const info of infos) {
    for (let at: SnapshotInfo | undefined = info; at !== undefined && !keys.has(at.key);) {
      keys.add(at.key);
      at = at.parent === undefined ? undefined : all.get(at.parent);
    }
  }
  return keys;
}

function depth(info: SnapshotInfo, all: ReadonlyMap<string, SnapshotInfo>): number {
  let count = 0;
  for (let at = info.parent; at !== undefined; at = all.get(at)?.parent) count++;
  return count;
}
