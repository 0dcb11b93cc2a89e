import * as v from "valibot";
import type { ContentStore } from "../core/content.ts";
import { ImageConfigSchema, IndexSchema, ManifestSchema } from "../core/descriptor.ts";
import { chainIds, type Digest, isDigest } from "../core/digest.ts";
import { codeOf } from "../core/errors.ts";
import type { SnapshotInfo } from "../core/snapshotter.ts";
import { referencesOfSnapshot } from "./references.ts";

/** Larger than any index, manifest or configuration that is accepted. */
const documentBytes = 16 * 1024 * 1024;
/** Of a larger blob the first byte is looked at before all of it is read: it may be a layer. */
const smallBytes = 64 * 1024;

/** What a JSON text may begin with, when it is an object. */
const objectBegins = /^[\s\uFEFF\xEF{]/;

/**
 * What references lead to, in the words of a lease: from images to manifests, layers and unpacked snapshots, from a
 * snapshot to its parent and to what its labels name. What was added holds at once; what that leads to, when it has been
 * followed. Nothing is ever taken out.
 */
export class Reachable {
  readonly #content: ContentStore;
  readonly #snapshots: ReadonlyMap<string, ReadonlyMap<string, SnapshotInfo>>;
  readonly #reached = new Set<string>();
  /** Layers, which lead nowhere. Apart, since a manifest may call another image a layer, which keeps what it leads to. */
  readonly #leaves = new Set<string>();
  readonly #unfollowed: string[] = [];

  /** @param snapshots of each snapshotter by key: those that references may lead to. */
  constructor(content: ContentStore, snapshots: ReadonlyMap<string, ReadonlyMap<string, SnapshotInfo>>) {
    this.#content = content;
    this.#snapshots = snapshots;
  }

  has(resource: string): boolean {
    return this.#reached.has(resource) || this.#leaves.has(resource);
  }

  add(resource: string): void {
    if (this.#reached.has(resource)) return;
    this.#reached.add(resource);
    this.#unfollowed.push(resource);
  }

  addLeaf(resource: string): void {
    this.#leaves.add(resource);
  }

  /** Whether something was added that has not been followed yet. */
  get unfollowed(): boolean {
    return this.#unfollowed.length > 0;
  }

  /**
   * Follows one thing to what it names.
   * @throws data_loss for a document whose bytes have changed: what it needs is not known then, so nothing may be removed.
   */
  async follow(): Promise<void> {
    const resource = this.#unfollowed.at(-1);
    if (resource === undefined) return;
    const [kind = "", name = ""] = split(resource);
    if (kind === "content" && isDigest(name)) await this.#followDocument(name);
    if (kind === "snapshot") {
      const [snapshotter = "", key = ""] = split(name);
      const info = this.#snapshots.get(snapshotter)?.get(key);
      if (info !== undefined) { for (const reference of referencesOfSnapshot(snapshotter, info)) this.add(reference); }
    }
    // Not before that has succeeded.
    this.#unfollowed.splice(this.#unfollowed.lastIndexOf(resource), 1);
  }

  /**
   * What is not in the store (another platform's manifest, a layer that is fetched on demand) leads nowhere, nor does what
   * these schemas do not read, since an image is read by them too: a document that a hostile registry made up must not keep
   * everybody's garbage.
   */
  async #followDocument(digest: Digest): Promise<void> {
    const document = await this.#read(digest);
    if (document === undefined) return;
    const index = v.safeParse(IndexSchema, document);
    if (index.success) {
      for (const { digest } of index.output.manifests) this.add(`content/${digest}`);
      return;
    }
    const manifest = v.safeParse(ManifestSchema, document);
    if (manifest.success) {
      this.add(`content/${manifest.output.config.digest}`);
      for (const { digest } of manifest.output.layers) this.addLeaf(`content/${digest}`);
      return;
    }
    // An artifact's configuration can be anything: only an image's has layers that are unpacked.
    const config = v.safeParse(ImageConfigSchema, document);
    if (!config.success) return;
    for (const chain of await chainIds(config.output.rootfs.diff_ids)) {
      for (const snapshotter of this.#snapshots.keys()) this.add(`snapshot/${snapshotter}/${chain}`);
    }
  }

  async #read(digest: Digest): Promise<object | undefined> {
    let text: string;
    try {
      const { size } = await this.#content.info(digest);
      if (size > smallBytes && !await this.#beginsAsObject(digest)) return undefined;
      text = new TextDecoder().decode(await this.#content.bytes(digest, documentBytes));
    } catch (error) {
      // A blob of that size is no document.
      if (codeOf(error) === "not_found" || codeOf(error) === "resource_exhausted") return undefined;
      throw error;
    }
    try {
      const document: unknown = JSON.parse(text);
      return typeof document === "object" && document !== null ? document : undefined;
    } catch {
      // An artifact's configuration may be anything; what is no JSON refers to nothing.
      return undefined;
    }
  }

  async #beginsAsObject(digest: Digest): Promise<boolean> {
    const [first] = await Array.fromAsync(await this.#content.read(digest, { length: 1 }));
    return first !== undefined && objectBegins.test(String.fromCharCode(...first));
  }
}

/** Splits a resource at its first slash; a digest has none, a key may have some. */
function split(resource: string): [string, string] {
  const at = resource.indexOf("/");
  return [resource.slice(0, at), resource.slice(at + 1)];
}
