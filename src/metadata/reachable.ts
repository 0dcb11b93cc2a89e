import * as v from "valibot";
import type { ContentStore } from "../core/content.ts";
import { ImageConfigSchema, IndexSchema, ManifestSchema } from "../core/descriptor.ts";
import { chainIds, type Digest } from "../core/digest.ts";
import { codeOf } from "../core/errors.ts";

/** Larger than any index, manifest or configuration that is accepted. */
const documentBytes = 16 * 1024 * 1024;

/** What images need: blobs, and snapshots by ChainID. It grows as roots are added, and reads each document once. */
export class Reachable {
  readonly blobs = new Set<Digest>();
  readonly chains = new Set<string>();
  readonly #content: ContentStore;

  constructor(content: ContentStore) {
    this.#content = content;
  }

  /**
   * Adds an index or manifest and everything below it. What is not in the store (another platform's manifest, a layer
   * that is fetched on demand) has nothing below it; nor has what these schemas do not read, since an image is read by
   * them too: a document that a hostile registry made up must not keep everybody's garbage.
   * @throws data_loss for a blob whose bytes have changed: what it needs is not known then, so nothing may be removed.
   */
  async add(root: Digest): Promise<void> {
    if (this.blobs.has(root)) return;
    const document = await this.#read(root);
    const index = v.safeParse(IndexSchema, document);
    const manifest = v.safeParse(ManifestSchema, document);
    if (index.success) {
      for (const { digest } of index.output.manifests) await this.add(digest);
    } else if (manifest.success) {
      const { config, layers } = manifest.output;
      this.blobs.add(config.digest);
      for (const { digest } of layers) this.blobs.add(digest);
      await this.#addChain(config.digest);
    }
    // Last, so that one that failed is read again.
    this.blobs.add(root);
  }

  /** An artifact's configuration can be anything: only an image's has layers that are unpacked. */
  async #addChain(config: Digest): Promise<void> {
    const parsed = v.safeParse(ImageConfigSchema, await this.#read(config));
    if (!parsed.success) return;
    for (const chain of await chainIds(parsed.output.rootfs.diff_ids)) this.chains.add(chain);
  }

  async #read(digest: Digest): Promise<object | undefined> {
    let text: string;
    try {
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
}
