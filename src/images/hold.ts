import type { Digest } from "../core/digest.ts";
import type { LeaseStore } from "../core/lease.ts";

/** Long enough for the largest image; garbage collection takes what a crash left behind it. */
const leaseMs = 24 * 3600_000;

/** A lease for the time of one operation. */
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

  /** Holds a blob and its ingest. To be called before it is looked for, so that it cannot go in between. */
  async content(digest: Digest): Promise<void> {
    await this.#leases.add(this.#id, `content/${digest}`);
    await this.#leases.add(this.#id, `ingest/${ingestRef(digest)}`);
  }

  async snapshot(snapshotter: string, key: string): Promise<void> {
    await this.#leases.add(this.#id, `snapshot/${snapshotter}/${key}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#leases.delete(this.#id);
  }
}

/** The name under which a blob is taken in, so that the next attempt goes on where one has stopped. */
export function ingestRef(digest: Digest): string {
  return `image-${digest}`;
}
