import type { ContentInfo, ContentStore } from "../core/content.ts";
import type { Digest } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import type { Image, ImageStore } from "../core/image.ts";
import { ownImageName, ownRepository, ownTagPrefix } from "../core/own_registry.ts";
import { descriptorOf, type LinkedManifest, type Repository, type RepositoryStore } from "../core/repository.ts";
import type { WriteBarrier } from "../core/write_barrier.ts";
import type { Images } from "../images/images.ts";
import { importPrefix } from "../images/ingest.ts";
import { documentBytes } from "../images/read_manifest.ts";
import { describeManifest, type ManifestContent } from "./document.ts";
import { refusal } from "./errors.ts";
import { pageSize, type RegistryLimits } from "./limits.ts";
import type { ManifestReference } from "./names.ts";

/** Of so many repositories it is known that all their tags are linked; of more, it is looked up again. */
const rememberedRepositories = 10_000;

export interface RepositoriesParts {
  readonly content: ContentStore;
  readonly images: Images;
  readonly names: ImageStore;
  readonly repositories: RepositoryStore;
  readonly events: Events;
  readonly barrier: WriteBarrier;
  readonly limits: RegistryLimits;
}

/**
 * Repositories of the registry. A tag is the name of an image (`localhost/repository:tag`), the same that the runner
 * knows. What a repository shows is linked to it; an image that came by its name otherwise is linked when it is asked for.
 */
export class Repositories implements Disposable {
  readonly #parts: RepositoriesParts;

  /** Repositories whose tags are all linked, or are about to be. */
  readonly #adopted = new Map<string, Promise<boolean>>();
  /** Tags that are on their way, and linked already. */
  readonly #pushing = new Set<string>();
  readonly #unsubscribe: () => void;

  constructor(parts: RepositoriesParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.events.subscribe("/images/", ({ namespace, data: { name } }) => {
      const repository = ownRepository(String(name));
      if (repository === undefined || this.#pushing.has(`${namespace} ${name}`)) return;
      this.#adopted.delete(keyOf({ namespace, repository }));
    });
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  /** @throws MANIFEST_UNKNOWN. */
  async manifest(at: Repository, reference: ManifestReference): Promise<LinkedManifest> {
    const digest = "digest" in reference ? reference.digest : (await this.#tagged(at, reference.tag))?.target.digest;
    const found = digest && (
      await this.#parts.repositories.manifest(at, digest) ??
        (await this.#adopt(at) ? await this.#parts.repositories.manifest(at, digest) : undefined)
    );
    if (found !== undefined && await this.#info(found.digest) !== undefined) return found;
    throw unknownManifest(at, reference);
  }

  /** @throws BLOB_UNKNOWN. */
  async blob(at: Repository, digest: Digest): Promise<ContentInfo> {
    const linked = async () => (await this.#parts.repositories.blobs(at, [digest])).has(digest);
    const info = await linked() || (await this.#adopt(at) && await linked()) ? await this.#info(digest) : undefined;
    if (info !== undefined) return info;
    throw refusal("BLOB_UNKNOWN", `no blob ${digest} is in repository ${JSON.stringify(at.repository)}`, {
      about: [{ digest }],
    });
  }

  /**
   * Links a blob that another repository of the namespace has.
   * @param from the other one; undefined for any.
   * @returns whether it is linked now.
   */
  async mount(at: Repository, digest: Digest, from: string | undefined): Promise<boolean> {
    using _pin = await this.#parts.barrier.pin(`content/${digest}`);
    if (from === undefined) {
      if (!await this.#parts.repositories.hasBlob(at.namespace, digest)) return false;
    } else {
      try {
        await this.blob({ ...at, repository: from }, digest);
      } catch (error) {
        if (codeOf(error) === "not_found") return false;
        throw error;
      }
    }
    if (await this.#info(digest) === undefined) return false;
    await this.#parts.repositories.putBlobs(at, [digest]);
    return true;
  }

  /**
   * Takes a manifest whose blobs have been pushed.
   * @param options.digest that of the bytes. @param options.tags point at it from now on.
   * @throws MANIFEST_INVALID; MANIFEST_BLOB_UNKNOWN naming what is missing; DENIED past the limit of tags.
   */
  async push(
    at: Repository,
    bytes: Uint8Array<ArrayBuffer>,
    { digest, mediaType, tags }: {
      readonly digest: Digest;
      readonly mediaType: string;
      readonly tags: readonly string[];
    },
  ): Promise<ManifestContent> {
    const manifest = describeManifest(bytes, digest, mediaType);
    for (const tag of tags) await this.#requireRoom(at, tag);
    {
      using _pin = await this.#parts.barrier.pin(`content/${digest}`);
      await this.#requireContent(at, manifest);
      await using ingest = await this.#parts.content.writer(`${importPrefix}${crypto.randomUUID()}`);
      await ingest.write(bytes);
      await ingest.commit({ digest });
      await this.#parts.repositories.putManifest(at, linkOf(manifest));
    }
    for (const tag of tags) await this.#tag(at, tag, manifest);
    return manifest;
  }

  /** Removes a tag alone, or a manifest with the tags that point at it. @throws MANIFEST_UNKNOWN. */
  async deleteManifest(at: Repository, reference: ManifestReference): Promise<void> {
    const { namespace } = at;
    if ("tag" in reference) {
      if (await this.#tagged(at, reference.tag) === undefined) throw unknownManifest(at, reference);
      return await this.#parts.images.remove(namespace, ownImageName(at.repository, reference.tag));
    }
    const { digest } = await this.manifest(at, reference);
    for await (const images of this.#tagPages(at)) {
      for (const { name, target } of images) {
        if (target.digest === digest) await this.#parts.images.remove(namespace, name);
      }
    }
    await this.#parts.repositories.deleteManifest(at, digest);
    this.#deleted(at, digest);
  }

  /** @throws BLOB_UNKNOWN; DENIED while a manifest needs it. */
  async deleteBlob(at: Repository, digest: Digest): Promise<void> {
    await this.blob(at, digest);
    if (await this.#parts.repositories.needs(at, digest)) {
      throw refusal("DENIED", `cannot delete blob ${digest}: a manifest of its repository needs it, delete that first`);
    }
    await this.#parts.repositories.deleteBlob(at, digest);
    this.#deleted(at, digest);
  }

  /**
   * Tags in the order of their bytes, those behind `last`.
   * @throws NAME_UNKNOWN for a repository that there is nothing of.
   */
  async tags(
    at: Repository,
    { last, limit }: { readonly last?: string | undefined; readonly limit: number },
  ): Promise<readonly string[]> {
    const tags = await this.#named(at, { last, limit });
    if (tags.length === 0 && last === undefined && limit > 0 && !await this.#parts.repositories.has(at)) {
      throw refusal("NAME_UNKNOWN", `nothing has been pushed to repository ${JSON.stringify(at.repository)}`);
    }
    return tags.map(({ name }) => name.slice(ownTagPrefix(at.repository).length));
  }

  /** The manifests whose subject it is, those behind `last`. */
  async referrers(at: Repository, subject: Digest, last?: Digest): Promise<readonly LinkedManifest[]> {
    await this.#adopt(at);
    return await this.#parts.repositories.referrers(at, subject, { last, limit: pageSize });
  }

  #deleted({ namespace, repository }: Repository, digest: Digest): void {
    this.#parts.events.publish("/repositories/delete", namespace, { repository, digest });
  }

  async #tagged(at: Repository, tag: string): Promise<Image | undefined> {
    return await this.#parts.names.get(at.namespace, ownImageName(at.repository, tag));
  }

  async #tag(at: Repository, tag: string, manifest: LinkedManifest): Promise<void> {
    const name = ownImageName(at.repository, tag);
    const pushing = `${at.namespace} ${name}`;
    this.#pushing.add(pushing);
    try {
      await this.#parts.images.record(at.namespace, name, descriptorOf(manifest));
    } finally {
      this.#pushing.delete(pushing);
    }
  }

  async #named(
    { namespace, repository }: Repository,
    { last, limit }: { readonly last?: string | undefined; readonly limit: number },
  ): Promise<readonly Image[]> {
    const prefix = ownTagPrefix(repository);
    const after = last === undefined ? {} : { after: prefix + last };
    return await this.#parts.names.list(namespace, { prefix, tagged: true, limit, ...after });
  }

  /** Every tag, some at a time, with a turn of the event loop between them. */
  async *#tagPages(at: Repository): AsyncGenerator<readonly Image[]> {
    let images: readonly Image[] = [];
    do {
      const last = images.at(-1)?.name.slice(ownTagPrefix(at.repository).length);
      images = await this.#named(at, { last, limit: pageSize });
      yield images;
      await new Promise((resolve) => setTimeout(resolve, 0));
    } while (images.length === pageSize);
  }

  /**
   * Links images that got a name here otherwise than by a push. Once that is done, events tell of more.
   * @returns whether there was one.
   */
  async #adopt(at: Repository): Promise<boolean> {
    const key = keyOf(at);
    const begun = this.#adopted.get(key);
    if (begun !== undefined) return await begun;
    if (this.#adopted.size >= rememberedRepositories) this.#adopted.clear();
    const adopting = this.#adoptAll(at);
    this.#adopted.set(key, adopting);
    try {
      return await adopting;
    } catch (error) {
      if (this.#adopted.get(key) === adopting) this.#adopted.delete(key);
      throw error;
    }
  }

  async #adoptAll(at: Repository): Promise<boolean> {
    let adopted = false;
    for await (const images of this.#tagPages(at)) {
      const linked = await this.#parts.repositories.manifests(at, images.map(({ target }) => target.digest));
      for (const { target } of images) {
        if (linked.has(target.digest)) continue;
        adopted = await this.#link(at, target.digest, target.mediaType) || adopted;
      }
    }
    return adopted;
  }

  /** Links a manifest and, first, what is below it and in the store. */
  async #link(at: Repository, digest: Digest, mediaType: string): Promise<boolean> {
    using _pin = await this.#parts.barrier.pin(`content/${digest}`);
    if (await this.#info(digest) === undefined) return false;
    const manifest = describeManifest(await this.#parts.content.bytes(digest, documentBytes), digest, mediaType);
    for (const child of manifest.children) await this.#link(at, child.digest, child.mediaType);
    const blobs = [...manifest.blobs.keys()];
    using _pins = await this.#parts.barrier.pin(...blobs.map((blob) => `content/${blob}`));
    const there: Digest[] = [];
    for (const blob of blobs) if (await this.#info(blob) !== undefined) there.push(blob);
    await this.#parts.repositories.putBlobs(at, there);
    await this.#parts.repositories.putManifest(at, linkOf(manifest));
    return true;
  }

  /** @throws MANIFEST_BLOB_UNKNOWN for what is not in the repository; MANIFEST_INVALID for another size than its own. */
  async #requireContent(at: Repository, { digest, blobs, children }: ManifestContent): Promise<void> {
    const linked = await this.#parts.repositories.blobs(at, [...blobs.keys()]);
    const missing: Digest[] = [];
    const check = async (part: Digest, size: number, isLinked: boolean) => {
      const info = isLinked ? await this.#info(part) : undefined;
      if (info === undefined) missing.push(part);
      else if (info.size !== size) {
        throw refusal(
          "MANIFEST_INVALID",
          `cannot take manifest ${digest}: ${part} has ${info.size} bytes, it says ${size}`,
        );
      }
    };
    for (const [part, size] of blobs) await check(part, size, linked.has(part));
    for (const child of children) {
      await check(child.digest, child.size, await this.#parts.repositories.manifest(at, child.digest) !== undefined);
    }
    if (missing.length === 0) return;
    throw refusal(
      "MANIFEST_BLOB_UNKNOWN",
      `cannot take manifest ${digest}: it names what has not been pushed to repository ${
        JSON.stringify(at.repository)
      }`,
      { about: missing.slice(0, 100).map((digest) => ({ digest })) },
    );
  }

  async #requireRoom(at: Repository, tag: string): Promise<void> {
    const { tags } = this.#parts.limits;
    if (await this.#tagged(at, tag) !== undefined) return;
    const prefix = ownTagPrefix(at.repository);
    if (await this.#parts.names.count(at.namespace, { prefix, tagged: true }) < tags) return;
    throw refusal(
      "DENIED",
      `cannot make tag ${JSON.stringify(tag)}: the repository has ${tags} tags, delete some first`,
    );
  }

  async #info(digest: Digest): Promise<ContentInfo | undefined> {
    try {
      return await this.#parts.content.info(digest);
    } catch (error) {
      if (codeOf(error) === "not_found") return undefined;
      throw error;
    }
  }
}

function keyOf({ namespace, repository }: Repository): string {
  return `${namespace} ${repository}`;
}

function linkOf({ blobs: _blobs, children: _children, ...link }: ManifestContent): LinkedManifest {
  return link;
}

function unknownManifest({ repository }: Repository, reference: ManifestReference): Failure {
  const what = "digest" in reference ? reference.digest : `tag ${JSON.stringify(reference.tag)}`;
  return refusal("MANIFEST_UNKNOWN", `no manifest ${what} is in repository ${JSON.stringify(repository)}`);
}
