import type { Descriptor } from "./descriptor.ts";
import type { Digest } from "./digest.ts";

/**
 * What the repositories of the registry hold: links from a repository to content. Content that a repository has no link to
 * cannot be had from there, though it be in the store. Tags are no part of it: they are names of images.
 *
 * A link is *used* when it is made, looked up or asked for. Links that no tag leads to go when they have not been used for
 * a while (`prune`).
 */
export interface RepositoryStore {
  /** Looks a manifest up, and uses it. */
  manifest(at: Repository, digest: Digest): Promise<LinkedManifest | undefined>;
  /** Those of some manifests that a repository has, and uses them. */
  manifests(at: Repository, digests: readonly Digest[]): Promise<ReadonlySet<Digest>>;
  /** Links a manifest. */
  putManifest(at: Repository, manifest: LinkedManifest): Promise<void>;
  /** @returns whether it was there. */
  deleteManifest(at: Repository, digest: Digest): Promise<boolean>;
  /** The manifests whose subject it is, in the order of their digests, those behind `last`. */
  referrers(
    at: Repository,
    subject: Digest,
    options: { readonly last?: Digest | undefined; readonly limit: number },
  ): Promise<readonly LinkedManifest[]>;
  /** Whether anything is linked. */
  has(at: Repository): Promise<boolean>;
  /** Whether a manifest of the repository refers to something. */
  needs(at: Repository, digest: Digest): Promise<boolean>;
  /** Those of some blobs that a repository has, and uses them. */
  blobs(at: Repository, digests: readonly Digest[]): Promise<ReadonlySet<Digest>>;
  /** Whether any repository of a namespace has a blob. */
  hasBlob(namespace: string, digest: Digest): Promise<boolean>;
  /** Links blobs. */
  putBlobs(at: Repository, digests: readonly Digest[]): Promise<void>;
  /** @returns whether it was there. */
  deleteBlob(at: Repository, digest: Digest): Promise<boolean>;
  /** Everything that some repository has a link to, for garbage collection; what two have comes twice or once. */
  links(): Promise<readonly Digest[]>;
  /**
   * Removes links that no tag leads to: by manifests and indexes down, and from a subject to what refers to it.
   * @param tagged the digests that a repository's tags point at.
   * @param usedBefore later ones stay.
   * @returns how many.
   */
  prune(tagged: (at: Repository) => Iterable<string>, usedBefore: Date): Promise<number>;
}

/** A repository of the registry: a namespace's own. */
export interface Repository {
  readonly namespace: string;
  /** Its path, without a registry: `team/app`. */
  readonly repository: string;
}

/** A manifest or index in a repository. */
export interface LinkedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** What its config or itself says that it is; for `referrers`. */
  readonly artifactType?: string | undefined;
  readonly subject?: Digest | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** The manifests and blobs that it names, and that have to be there. */
  readonly references: readonly Digest[];
}

/** What a name that points at a manifest holds of it. */
export function descriptorOf({ mediaType, digest, size }: LinkedManifest): Descriptor {
  return { mediaType, digest, size };
}
