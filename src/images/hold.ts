import type { Digest } from "../core/digest.ts";
import type { LeaseStore } from "../core/lease.ts";
import type { ImageReference } from "../core/reference.ts";
import type { SharedLock } from "../core/shared_lock.ts";

/** Long enough for the largest image; garbage collection takes what a crash left behind it. */
const leaseMs = 24 * 3600_000;

/** What a hold is taken from. */
export interface HoldParts {
  readonly leases: LeaseStore;
  /** Shared while something is leased; garbage collection has it alone between a look at leases and what it removes. */
  readonly lock: SharedLock;
}

/** A lease for the time of one operation: what is under it is not collected as garbage. */
export class Hold implements AsyncDisposable {
  readonly #parts: HoldParts;
  readonly #id: string;

  private constructor(parts: HoldParts, id: string) {
    this.#parts = parts;
    this.#id = id;
  }

  static async take(parts: HoldParts, namespace: string, purpose: string): Promise<Hold> {
    const { id } = await parts.leases.create(namespace, new Date(Date.now() + leaseMs), { purpose });
    return new Hold(parts, id);
  }

  /**
   * Holds a blob, and its ingest where it comes from a registry. To be called before it is looked for, so that it cannot
   * go in between.
   */
  async content(digest: Digest, source?: ImageReference): Promise<void> {
    await this.#add([`content/${digest}`, ...(source === undefined ? [] : [`ingest/${ingestRef(digest, source)}`])]);
  }

  /** Holds blobs. */
  async contents(digests: readonly Digest[]): Promise<void> {
    await this.#add(digests.map((digest) => `content/${digest}`));
  }

  /** Holds a blob whose digest is known only when it is there. @param commit puts it there. */
  async committed(commit: () => Promise<Digest>): Promise<Digest> {
    using _share = await this.#parts.lock.shared();
    const digest = await commit();
    await this.#parts.leases.add(this.#id, [`content/${digest}`]);
    return digest;
  }

  async snapshots(snapshotter: string, keys: readonly string[]): Promise<void> {
    await this.#add(keys.map((key) => `snapshot/${snapshotter}/${key}`));
  }

  /** A collection sees the lease, or is over with its removals before it is there. */
  async #add(resources: readonly string[]): Promise<void> {
    using _share = await this.#parts.lock.shared();
    await this.#parts.leases.add(this.#id, resources);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#parts.leases.delete(this.#id);
    } catch {
      // It expires. What was done under it is done, or failed for a reason that must not be hidden, as on a full disk.
    }
  }
}

/**
 * The name under which a blob is taken in, so that the next attempt goes on where one has stopped. It tells sources apart:
 * a registry that is slow, or sends other bytes, is to hinder nobody who gets the same blob elsewhere.
 */
export function ingestRef(digest: Digest, { registry, repository }: ImageReference): string {
  return `image-${digest}@${registry}/${repository}`;
}
