/**
 * A lease holds resources against garbage collection while somebody works on them.
 * A resource is `content/<digest>`, `snapshot/<snapshotter>/<key>` or `ingest/<ref>`.
 */
export interface LeaseStore {
  /** @param expiresAt after which it holds nothing any more. */
  create(namespace: string, expiresAt: Date, labels?: Readonly<Record<string, string>>): Promise<Lease>;
  add(id: string, resource: string): Promise<void>;
  delete(id: string): Promise<void>;
  list(): Promise<readonly Lease[]>;
}

export interface Lease {
  readonly id: string;
  readonly namespace: string;
  readonly expiresAt: Date;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: readonly string[];
}
