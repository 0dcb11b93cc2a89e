/** What the registry takes. */
export interface RegistryLimits {
  /** How long a sender may keep a body waiting, as `core/pace.ts` says. */
  readonly bodyTimeoutMs: number;
  /** From when on an upload without a request gives up its file and its buffer, and may have to make room for another. */
  readonly uploadQuietMs: number;
  /** How long an upload is kept from its last request on. */
  readonly uploadExpiryMs: number;
  /** Uploads of a namespace at once. */
  readonly uploads: number;
  /** Tags of a repository. */
  readonly tags: number;
}

export const defaultLimits: RegistryLimits = {
  bodyTimeoutMs: 30_000,
  uploadQuietMs: 30_000,
  uploadExpiryMs: 3600_000,
  uploads: 256,
  tags: 10_000,
};

/** Referrers, or tags, in one answer. */
export const pageSize = 1000;
