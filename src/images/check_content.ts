import type { ContentStore } from "../core/content.ts";
import { type Descriptor, ImageConfigSchema, type Manifest, mediaTypes } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { type ErrorCode, Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { digestLike, isThere } from "./blob_state.ts";
import { Budget, type UnpackLimits } from "./budget.ts";
import { inflate } from "./inflate.ts";
import { documentBytes, readJson, readManifest } from "./read_manifest.ts";

/** What became of one blob of an image. */
export interface CheckedBlob {
  readonly digest: Digest;
  readonly kind: "index" | "manifest" | "config" | "layer";
  /** As who names it says, in bytes. */
  readonly size: number;
  /** `wrong`: its bytes are those of its digest, and yet not what the image says of them. */
  readonly state: "whole" | "corrupt" | "missing" | "wrong";
  /** Why it is not whole. */
  readonly reason?: string;
}

export interface ContentCheck {
  readonly blobs: readonly CheckedBlob[];
  /** How many manifests an index has, for other platforms, that were never pulled. */
  readonly elsewhere: number;
}

/** How many indexes may lead from one to the next. */
const maxDepth = 4;

const indexTypes: readonly string[] = [mediaTypes.index, mediaTypes.dockerList];
const configTypes: readonly string[] = [mediaTypes.config, mediaTypes.dockerConfig];

const states: Partial<Record<ErrorCode, CheckedBlob["state"]>> = {
  not_found: "missing",
  data_loss: "corrupt",
  invalid_argument: "wrong",
  unimplemented: "wrong",
  resource_exhausted: "wrong",
};

/**
 * Reads all that is here of an image: each blob is compared with its digest and its size, each layer is decompressed and
 * compared with the diffID that the configuration gives it. What was unpacked of them is not looked at.
 * @throws what keeps the disk from being read; the signal's reason.
 */
export async function checkContent(
  content: ContentStore,
  target: Descriptor,
  options: { readonly limits: UnpackLimits; readonly signal?: AbortSignal | undefined },
): Promise<ContentCheck> {
  const check = new Check(content, options.limits, options.signal);
  await check.document(target, 0);
  return { blobs: check.blobs, elsewhere: check.elsewhere };
}

class Check {
  readonly blobs: CheckedBlob[] = [];
  elsewhere = 0;
  readonly #content: ContentStore;
  readonly #signal: AbortSignal | undefined;
  readonly #budget: Budget;
  readonly #documents = new Set<Digest>();
  /** Digests and diffIDs: manifests of an index share layers. */
  readonly #layers = new Set<string>();

  constructor(content: ContentStore, limits: UnpackLimits, signal: AbortSignal | undefined) {
    this.#content = content;
    this.#signal = signal;
    this.#budget = new Budget(limits);
  }

  async document(descriptor: Descriptor, depth: number): Promise<void> {
    if (this.#documents.has(descriptor.digest)) return;
    this.#documents.add(descriptor.digest);
    const kind = indexTypes.includes(descriptor.mediaType) ? "index" : "manifest";
    const document = await this.#note(kind, descriptor, async () => {
      if (depth > maxDepth) throw new Failure("invalid_argument", `over ${maxDepth} indexes lead to it`);
      return readManifest(await this.#bytes(descriptor), descriptor.digest, descriptor.mediaType);
    });
    if (document?.kind === "manifest") return await this.#manifest(document.manifest);
    const manifests = document?.index.manifests ?? [];
    const there = [];
    for (const child of manifests) if (await isThere(this.#content, child.digest)) there.push(child);
    // An image of which nothing is here is none that has other platforms elsewhere.
    const chosen = there.length === 0 ? manifests : there;
    this.elsewhere += manifests.length - chosen.length;
    for (const child of chosen) await this.document(child, depth + 1);
  }

  async #manifest({ config, layers }: Manifest): Promise<void> {
    const diffIds = await this.#note("config", config, async () => {
      if (!configTypes.includes(config.mediaType)) return void await this.#compare(config);
      const action = `cannot read configuration ${config.digest}`;
      const { rootfs } = parse(ImageConfigSchema, readJson(await this.#bytes(config), action), action);
      if (rootfs.diff_ids.length === layers.length) return rootfs.diff_ids;
      throw new Failure(
        "invalid_argument",
        `it names ${rootfs.diff_ids.length} layers, its manifest ${layers.length}`,
      );
    });
    for (const [i, layer] of layers.entries()) await this.#layer(layer, diffIds?.[i]);
  }

  /** @param diffId undefined for what is no layer of files, or whose configuration is lost. */
  async #layer(layer: Descriptor, diffId: Digest | undefined): Promise<void> {
    const named = `${layer.digest} ${diffId}`;
    if (this.#layers.has(named)) return;
    this.#layers.add(named);
    await this.#note("layer", layer, async () => {
      await this.#compare(layer);
      const found = diffId && await this.#diffId(layer, diffId);
      if (found === diffId) return;
      throw new Failure("invalid_argument", `unpacked it is ${found}, its configuration says ${diffId}`);
    });
  }

  async #diffId(layer: Descriptor, wanted: Digest): Promise<Digest> {
    const budget = this.#budget;
    const counted = async function* (archive: AsyncIterable<Uint8Array>) {
      for await (const chunk of archive) {
        budget.bytes(chunk.length);
        yield chunk;
      }
    };
    const archive = inflate(this.#watched(await this.#content.read(layer.digest)));
    return await digestLike(wanted, counted(archive)).catch((cause: unknown) => {
      // The bytes are those of the digest: whoever compressed them did it badly.
      if (!(cause instanceof Failure) || cause.code !== "data_loss") throw cause;
      throw new Failure("invalid_argument", cause.message, { cause });
    });
  }

  async *#watched(blob: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of blob) {
      this.#signal?.throwIfAborted();
      yield chunk;
    }
  }

  /** A small blob, whole. @throws not_found; data_loss; invalid_argument for another size; resource_exhausted. */
  async #bytes(descriptor: Descriptor): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#content.bytes(descriptor.digest, documentBytes);
    checkSize(descriptor, bytes.length);
    return bytes;
  }

  /** @throws not_found; data_loss; invalid_argument for another size. */
  async #compare(descriptor: Descriptor): Promise<void> {
    const { digest } = descriptor;
    const { size } = await this.#content.info(digest);
    const found = await digestLike(digest, this.#watched(await this.#content.read(digest)));
    if (found !== digest) throw new Failure("data_loss", `its bytes on disk are ${found}`);
    checkSize(descriptor, size);
  }

  /** Looks at a blob, and writes down what it is like. @returns undefined where it is not whole. */
  async #note<T>(
    kind: CheckedBlob["kind"],
    { digest, size }: Descriptor,
    look: () => Promise<T>,
  ): Promise<T | undefined> {
    this.#signal?.throwIfAborted();
    try {
      const found = await look();
      this.blobs.push({ digest, kind, size, state: "whole" });
      return found;
    } catch (error) {
      this.#signal?.throwIfAborted();
      const state = error instanceof Failure ? states[error.code] : undefined;
      if (!(error instanceof Failure) || state === undefined) throw error;
      this.blobs.push({ digest, kind, size, state, reason: error.message });
      return undefined;
    }
  }
}

function checkSize({ size }: Descriptor, found: number): void {
  if (size === found) return;
  throw new Failure("invalid_argument", `it has ${found} bytes, who names it says ${size}`);
}
