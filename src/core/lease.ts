/**
 * A lease holds resources against garbage collection while somebody works on them.
 * A resource is `content/<digest>`, `snapshot/<snapshotter>/<key>` or `ingest/<ref>`; what it leads to is held, too: what
 * an index or manifest names, the parents of a snapshot.
 */
export interface LeaseStore {
  /** Takes a lease. @param expiresAt after which it holds nothing any more. */
  create(namespace: string, expiresAt: Date, labels?: Readonly<Record<string, string>>): Promise<Lease>;
  /**
   * Has a lease hold more resources. They are not about to be removed then: each is there, or it is gone.
   * @throws not_found for the lease.
   */
  add(id: string, resources: readonly string[]): Promise<void>;
  /** Gives a lease up; no error where it is gone already. */
  delete(id: string): Promise<void>;
  /** Every lease, those that have expired included. */
  list(): Promise<readonly Lease[]>;
}

/** One lease, and what it holds. */
export interface Lease {
  readonly id: string;
  readonly namespace: string;
  readonly expiresAt: Date;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: readonly string[];
}
