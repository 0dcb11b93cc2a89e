import type { Digest } from "../core/digest.ts";
import type { LeaseStore } from "../core/lease.ts";
import type { ImageReference } from "../core/reference.ts";
import type { SharedLock } from "../core/shared_lock.ts";

/** Long enough for the largest image; garbage collection takes what a crash left behind it. */
const leaseMs = 24 * 3600_000;

/** What a hold is taken from. */
export interface HoldParts {
  readonly leases: LeaseStore;
  /** Shared for the time of the operation; garbage collection has it alone. */
  readonly lock: SharedLock;
}

/** A lease for the time of one operation; in this process no garbage is collected meanwhile. */
export class Hold implements AsyncDisposable {
  readonly #leases: LeaseStore;
  readonly #id: string;
  readonly #share: Disposable;

  private constructor(leases: LeaseStore, id: string, share: Disposable) {
    this.#leases = leases;
    this.#id = id;
    this.#share = share;
  }

  static async take({ leases, lock }: HoldParts, namespace: string, purpose: string): Promise<Hold> {
    const share = await lock.shared();
    try {
      const { id } = await leases.create(namespace, new Date(Date.now() + leaseMs), { purpose });
      return new Hold(leases, id, share);
    } catch (error) {
      share[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Holds a blob, and its ingest where it comes from a registry. To be called before it is looked for, so that it cannot
   * go in between.
   */
  async content(digest: Digest, source?: ImageReference): Promise<void> {
    await this.#leases.add(this.#id, `content/${digest}`);
    if (source !== undefined) await this.#leases.add(this.#id, `ingest/${ingestRef(digest, source)}`);
  }

  async snapshot(snapshotter: string, key: string): Promise<void> {
    await this.#leases.add(this.#id, `snapshot/${snapshotter}/${key}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#leases.delete(this.#id);
    } catch {
      // It expires. What was done under it is done, or failed for a reason that must not be hidden, as on a full disk.
    } finally {
      this.#share[Symbol.dispose]();
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
