import type { ContentStore } from "../core/content.ts";
import { codeOf, Failure } from "../core/errors.ts";
import { rootLabel } from "../core/labels.ts";
import type { Metadata } from "../core/metadata.ts";
import { ownRepository } from "../core/own_registry.ts";
import type { Repository } from "../core/repository.ts";
import type { SnapshotInfo, Snapshotter } from "../core/snapshotter.ts";
import { Slice } from "../linux/slice.ts";
import { Reachable } from "./reachable.ts";
import { referencesOfContainer, referencesOfImage } from "./references.ts";

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

/** So many blobs are removed at once: each is a file, and its removal waits for the disk. */
const blobsAtOnce = 32;

/**
 * Removes what nothing refers to: blobs and committed snapshots that no image, function, container, repository or lease
 * reaches, and old ingests without a lease. Active snapshots and views belong to who made them, and keep what is below them.
 *
 * Records are read once. References that come later are told by the write barrier, and followed before the next removal:
 * nobody has to wait for a collection but who wants what is being removed in that moment.
 *
 * @throws failed_precondition where database and folder do not belong together; data_loss for an image whose documents
 * cannot be read, since nobody knows then what it needs.
 */
export async function collectGarbage(options: GarbageCollection): Promise<Collected> {
  const { metadata, content, dryRun = false } = options;
  if (metadata.conflict !== undefined) {
    throw new Failure("failed_precondition", `cannot collect garbage: ${metadata.conflict}`);
  }
  const snapshots = new Map<string, ReadonlyMap<string, SnapshotInfo>>();
  const reachable = new Reachable(content, snapshots);
  using _watch = metadata.barrier.watch((resource) => reachable.add(resource));
  const collection = new Collection({ ...options, dryRun }, reachable, snapshots);
  if (!dryRun) await collection.pruneRepositories();
  await collection.mark();
  await collection.removeSnapshots();
  await collection.removeBlobs();
  await collection.removeIngests();
  return collection.collected;
}

/** Something that no reference has led to so far. */
interface Garbage {
  /** As leases name it. */
  readonly resource: string;
  remove(): Promise<void>;
  /** Takes it down as removed. */
  count(): void;
}

class Collection {
  readonly collected = {
    blobs: 0,
    bytes: 0,
    snapshots: [] as string[],
    ingests: [] as string[],
    leases: 0,
    problems: [] as { what: string; error: unknown }[],
  };
  readonly #options: GarbageCollection & { readonly dryRun: boolean };
  readonly #reachable: Reachable;
  /** Of each snapshotter by key, children before their parents. */
  readonly #snapshots: Map<string, ReadonlyMap<string, SnapshotInfo>>;
  readonly #startedMs = Date.now();
  /** The database answers at once, so that nothing else would turn the event loop. */
  readonly #slice: Slice;

  constructor(
    options: GarbageCollection & { readonly dryRun: boolean },
    reachable: Reachable,
    snapshots: Map<string, ReadonlyMap<string, SnapshotInfo>>,
  ) {
    this.#options = options;
    this.#reachable = reachable;
    this.#snapshots = snapshots;
    this.#slice = new Slice(options.signal);
  }

  /** Lets repositories of the registry forget what no tag leads to. */
  async pruneRepositories(): Promise<void> {
    const { metadata, untaggedGraceMs = 24 * 3600_000 } = this.#options;
    const tagged = new Map<string, string[]>();
    for await (const { namespace, name, target } of this.#each(() => metadata.images.all())) {
      const repository = ownRepository(name);
      if (repository === undefined) continue;
      const key = `${namespace}/${repository}`;
      const digests = tagged.get(key);
      if (digests === undefined) tagged.set(key, [target.digest]);
      else digests.push(target.digest);
    }
    const of = ({ namespace, repository }: Repository) => tagged.get(`${namespace}/${repository}`) ?? [];
    await metadata.repositories.prune(of, new Date(this.#startedMs - untaggedGraceMs));
  }

  /** Reads what refers to something, and follows it. */
  async mark(): Promise<void> {
    const { leases, images, functions, containers, repositories } = this.#options.metadata;
    for await (const { id, expiresAt, resources } of this.#each(() => leases.list())) {
      if (expiresAt.getTime() > this.#startedMs) this.#add(resources);
      else {
        if (!this.#options.dryRun) await leases.delete(id);
        this.collected.leases++;
      }
    }
    for await (const image of this.#each(() => images.all())) this.#add(referencesOfImage(image));
    for await (const { digest } of this.#each(() => functions.images())) this.#add([`content/${digest}`]);
    for await (const container of this.#each(() => containers.list())) this.#add(referencesOfContainer(container));
    // Each of these is linked to by itself.
    for await (const digest of this.#each(() => repositories.links())) this.#reachable.addLeaf(`content/${digest}`);
    for (const snapshotter of this.#options.snapshotters.values()) {
      await this.#attempt(`snapshots of ${snapshotter.id}`, () => this.#markSnapshots(snapshotter));
    }
    await this.#follow();
  }

  async #markSnapshots(snapshotter: Snapshotter): Promise<void> {
    const all = new Map<string, SnapshotInfo>();
    for await (const info of this.#each(() => snapshotter.walk())) {
      all.set(info.key, info);
      const isRoot = info.kind !== "committed" || Object.hasOwn(info.labels, rootLabel) || this.#isNew(info.createdAt);
      if (isRoot) this.#add([`snapshot/${snapshotter.id}/${info.key}`]);
    }
    this.#snapshots.set(snapshotter.id, all);
  }

  async removeSnapshots(): Promise<void> {
    for (const [id, all] of this.#snapshots) {
      const snapshotter = this.#options.snapshotters.get(id)!;
      for (const { key } of all.values()) {
        if (this.#reachable.has(`snapshot/${id}/${key}`)) continue;
        // Its row is removed durably, which takes as long as the disk: each has a turn of its own.
        await this.#slice.next();
        await this.#remove([{
          resource: `snapshot/${id}/${key}`,
          remove: () => snapshotter.remove(key),
          count: () => this.collected.snapshots.push(`${id}/${key}`),
        }]);
      }
      if (this.#options.dryRun) continue;
      await this.#attempt(`folders of ${id}`, async () => void await snapshotter.cleanup());
    }
  }

  async removeBlobs(): Promise<void> {
    const { content } = this.#options;
    const garbage: Garbage[] = [];
    for await (const info of content.list((digest) => !this.#reachable.has(`content/${digest}`))) {
      await this.#turn();
      if (this.#isNew(info.createdAt)) continue;
      const count = () => {
        this.collected.blobs++;
        this.collected.bytes += info.size;
      };
      garbage.push({ resource: `content/${info.digest}`, remove: () => content.delete(info.digest), count });
    }
    for (let at = 0; at < garbage.length; at += blobsAtOnce) await this.#remove(garbage.slice(at, at + blobsAtOnce));
  }

  async removeIngests(): Promise<void> {
    const { content, ingestGraceMs = 24 * 3600_000 } = this.#options;
    for await (const { ref, startedAt } of this.#each(() => content.ingests())) {
      if (this.#isNew(startedAt, ingestGraceMs)) continue;
      await this.#remove([{
        resource: `ingest/${ref}`,
        remove: () => content.abort(ref),
        count: () => this.collected.ingests.push(ref),
      }]);
    }
  }

  #isNew(at: Date, graceMs = this.#options.graceMs ?? 3600_000): boolean {
    return at.getTime() >= this.#startedMs - graceMs;
  }

  /** Lets others have a turn of the event loop, where it is time. @throws the signal's reason. */
  async #turn(): Promise<void> {
    if (this.#slice.over) await this.#slice.next();
  }

  /** Reads a list, with turns before it and between its items where it is time. */
  async *#each<T>(read: () => Promise<readonly T[]>): AsyncGenerator<T> {
    await this.#turn();
    for (const item of await read()) {
      yield item;
      await this.#turn();
    }
  }

  #add(resources: Iterable<string>): void {
    for (const resource of resources) this.#reachable.add(resource);
  }

  async #follow(): Promise<void> {
    while (this.#reachable.unfollowed) {
      await this.#turn();
      await this.#reachable.follow();
    }
  }

  /**
   * Removes what nothing has led to until now. Where that cannot be told, the collection ends here.
   * One removal that fails does not keep the rest; what is gone already, or in somebody's hands, is no failure.
   */
  async #remove(garbage: readonly Garbage[]): Promise<void> {
    await this.#turn();
    // Again, since more may have come before this goes on; from then on all removals begin in one go.
    while (this.#reachable.unfollowed) await this.#follow();
    await Promise.all(garbage.map(async ({ resource, remove, count }) => {
      if (this.#reachable.has(resource)) return;
      try {
        if (!this.#options.dryRun) await this.#options.metadata.barrier.remove(resource, remove);
        count();
      } catch (error) {
        if (codeOf(error) === "not_found") return;
        const isTaken = codeOf(error) === "unavailable" || this.#reachable.has(resource);
        if (!isTaken) this.collected.problems.push({ what: resource, error });
        // It keeps its parents then.
        if (resource.startsWith("snapshot/")) this.#reachable.add(resource);
      }
    }));
  }

  async #attempt(what: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.collected.problems.push({ what, error });
    }
  }
}
