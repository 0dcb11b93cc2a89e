import type { ContentStore } from "../core/content.ts";
import type { Digest } from "../core/digest.ts";
import { filePartOf } from "../core/file_part.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import type { Monitor, Traced } from "../core/monitor.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { Kernel } from "../linux/kernel.ts";
import { removeTree } from "../linux/remove_tree.ts";
import { step } from "../monitoring/observe.ts";
import { applyLayer } from "./apply_layer.ts";
import { Budget, type UnpackLimits } from "./budget.ts";
import type { Hold } from "./hold.ts";
import { inflate } from "./inflate.ts";
import { counted, type OnProgress } from "./progress.ts";
import type { ResolvedImage, ResolvedLayer } from "./resolve.ts";
import { SingleFlight } from "./single_flight.ts";
import { openSink } from "./unpack_job.ts";
import type { UnpackThreads } from "./unpack_threads.ts";

/** Keys of snapshots into which a layer is being unpacked begin with it. */
export const unpackPrefix = "unpack-";

export interface UnpackOptions extends Traced {
  readonly hold: Hold;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Resolves when a layer's blob is in the content store; or with it, where it is in memory. Default: it is there. */
  readonly arrived?: (layer: ResolvedLayer) => Promise<Uint8Array | undefined>;
}

/** A layer to unpack. */
interface LayerToUnpack extends ResolvedLayer {
  /** The key of what it stands on. */
  readonly parent: string | undefined;
  /** Its blob. Undefined: it is in the content store. */
  readonly blob: Uint8Array | undefined;
}

/** A blob of so many bytes is worth a thread; a smaller one is unpacked before a thread has begun. */
export const threadBytes = 2 << 20;

/** Writes the filesystem of a folder to its disk. */
export type SyncFilesystem = (path: string) => Promise<void>;

/** Unpacks layers into snapshots, named by their ChainID, so that each stack of layers is unpacked once and shared. */
export class Unpacker {
  readonly #content: ContentStore;
  readonly #limits: UnpackLimits;
  readonly #kernel: Kernel;
  readonly #monitor: Monitor | undefined;
  readonly #sync: SyncFilesystem | undefined;
  readonly #threads: UnpackThreads | undefined;
  readonly #flights = new SingleFlight<void>();

  constructor(
    { content, host, limits, monitor, sync, threads }: {
      readonly content: ContentStore;
      readonly host: Host;
      readonly limits: UnpackLimits;
      readonly monitor?: Monitor;
      readonly sync?: SyncFilesystem;
      /** Default: all is unpacked on this thread, a slice at a time. */
      readonly threads?: UnpackThreads;
    },
  ) {
    this.#content = content;
    this.#limits = limits;
    this.#monitor = monitor;
    this.#kernel = new Kernel(host);
    this.#sync = sync;
    this.#threads = threads;
  }

  /**
   * Unpacks what is missing of an image's layers.
   * @returns the ChainID of all layers: the key of the committed snapshot.
   * @throws failed_precondition for an image without layers; as `applyLayer`, naming the layer.
   */
  async unpack(image: ResolvedImage, snapshotter: Snapshotter, options: UnpackOptions): Promise<string> {
    if (image.chainId === undefined) {
      throw new Failure("failed_precondition", `cannot unpack image ${image.manifestDigest}: it has no layers`);
    }
    await options.hold.snapshots(snapshotter.id, image.layers.map(({ chainId }) => chainId));
    if (await isCommitted(snapshotter, image.chainId)) return image.chainId;
    const budget = new Budget(this.#limits);
    let parent: string | undefined;
    for (const layer of image.layers) {
      const below = parent;
      const { digest, size } = layer.descriptor;
      if (layer.chainId !== image.chainId && await isCommitted(snapshotter, layer.chainId)) {
        options.onProgress?.({ digest, phase: "exists", bytes: size, total: size });
      } else {
        // Work is shared by those who have the same blob at hand: one that comes slowly, or is not what its image says, is
        // to hinder nobody whose image has the same layers from elsewhere.
        const blob = await options.arrived?.(layer);
        const attributes = { "mayfly.blob.digest": digest, "mayfly.blob.size": size };
        await step(this.#monitor, "layer", { parent: options.parent, attributes }, () =>
          this.#flights.run(
            `${snapshotter.id} ${layer.chainId} ${digest}`,
            options.signal,
            (signal) => this.#layer({ ...layer, parent: below, blob }, snapshotter, budget, { ...options, signal }),
          ));
      }
      parent = layer.chainId;
    }
    return image.chainId;
  }

  async #layer(
    layer: LayerToUnpack,
    snapshotter: Snapshotter,
    budget: Budget,
    { onProgress, signal }: UnpackOptions,
  ): Promise<void> {
    const { digest, size } = layer.descriptor;
    if (await isCommitted(snapshotter, layer.chainId)) {
      return onProgress?.({ digest, phase: "exists", bytes: size, total: size });
    }
    const key = `${unpackPrefix}${crypto.randomUUID()}-${layer.chainId}`;
    await snapshotter.prepare(key, layer.parent);
    try {
      const folder = await snapshotter.folder(key);
      await this.#apply(layer, folder, budget, onProgress, signal);
      // What is committed is never unpacked again: a power cut must find it whole.
      await this.#sync?.(folder.path);
      await snapshotter.commit(layer.chainId, key);
    } catch (error) {
      await this.#discard(snapshotter, key);
      // Another process was faster.
      if (await isCommitted(snapshotter, layer.chainId)) return;
      signal?.throwIfAborted();
      if (!(error instanceof Failure)) throw error;
      throw new Failure(error.code, `cannot unpack layer ${digest}: ${messageOf(error)}`, {
        cause: error,
        details: { ...error.details, layer: digest },
      });
    }
    onProgress?.({ digest, phase: "done", bytes: size, total: size });
  }

  /** Removes what is half unpacked. Where that fails the next start does it: the error that led here is not hidden. */
  async #discard(snapshotter: Snapshotter, key: string): Promise<void> {
    try {
      // Its files go first: on a full disk they make the room that the database needs to forget it.
      const { path, image } = await snapshotter.folder(key);
      for (const each of [path, image]) if (each !== undefined) await removeTree(this.#kernel, each);
      await snapshotter.remove(key);
    } catch {
      // See above.
    }
  }

  async #apply(
    { descriptor: { digest, size }, diffId, blob }: LayerToUnpack,
    folder: Awaited<ReturnType<Snapshotter["folder"]>>,
    budget: Budget,
    onProgress: OnProgress | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const step = { digest, phase: "unpack", total: size } as const;
    if (this.#threads !== undefined && size >= threadBytes) {
      const file = await this.#fileOf(digest);
      const job = file && { blob: file, diffId, folder, budget: budget.state };
      if (job && await this.#threads.run(job, (bytes) => onProgress?.({ ...step, bytes }), signal)) return;
    }
    using sink = openSink(this.#kernel, folder, budget);
    const source = counted(blob === undefined ? await this.#content.read(digest) : [blob], step, onProgress);
    await applyLayer({ archive: inflate(source), diffId, sink, budget, signal });
  }

  /** The file that a blob is in; undefined where the store has it otherwise. */
  async #fileOf(digest: Digest): Promise<string | undefined> {
    const stream = await this.#content.read(digest);
    const path = filePartOf(stream)?.path;
    await stream.cancel();
    return path;
  }
}

async function isCommitted(snapshotter: Snapshotter, key: string): Promise<boolean> {
  try {
    return (await snapshotter.stat(key)).kind === "committed";
  } catch (error) {
    if (codeOf(error) === "not_found") return false;
    throw error;
  }
}
