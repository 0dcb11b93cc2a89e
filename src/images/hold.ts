import type { Digest } from "../core/digest.ts";
import type { LeaseStore } from "../core/lease.ts";
import type { ImageReference } from "../core/reference.ts";

/** Long enough for the largest image; garbage collection takes what a crash left behind it. */
const leaseMs = 24 * 3600_000;

/**
 * A lease for the time of one operation: what is under it is not collected as garbage. To be taken before something is
 * looked for, so that it cannot go in between; it is there then, or it is gone.
 */
export class Hold implements AsyncDisposable {
  readonly #leases: LeaseStore;
  readonly #id: string;

  private constructor(leases: LeaseStore, id: string) {
    this.#leases = leases;
    this.#id = id;
  }

  static async take(leases: LeaseStore, namespace: string, purpose: string): Promise<Hold> {
    const { id } = await leases.create(namespace, new Date(Date.now() + leaseMs), { purpose });
    return new Hold(leases, id);
  }

  /** Holds a blob with all that it leads to, and its ingest where it comes from a registry. */
  async content(digest: Digest, source?: ImageReference): Promise<void> {
    const ingest = source === undefined ? [] : [`ingest/${ingestRef(digest, source)}`];
    await this.#leases.add(this.#id, [`content/${digest}`, ...ingest]);
  }

  /** Holds blobs. */
  async contents(digests: readonly Digest[]): Promise<void> {
    await this.#leases.add(this.#id, digests.map((digest) => `content/${digest}`));
  }

  async snapshots(snapshotter: string, keys: readonly string[]): Promise<void> {
    await this.#leases.add(this.#id, keys.map((key) => `snapshot/${snapshotter}/${key}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#leases.delete(this.#id);
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
