import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { ContentStore } from "../core/content.ts";
import type { Digest } from "../core/digest.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Kernel } from "../linux/kernel.ts";
import { treeUsage } from "../linux/tree_usage.ts";
import { isThere, isWhole } from "./blob_state.ts";
import { recoverImages, type Recovery } from "./recover.ts";
import { documentBytes, readManifest } from "./read_manifest.ts";

export interface StorageParts {
  readonly kernel: Kernel;
  /** The state folder. */
  readonly root: string;
  readonly content: ContentStore;
  readonly metadata: Metadata;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  /** Collects garbage. @param options.dryRun tells what would go. */
  readonly collect: (options: { readonly dryRun: boolean }) => Promise<Garbage>;
  /** Brings what an image lacks of its content. */
  readonly refetch: (namespace: string, name: string) => Promise<void>;
}

/** What a garbage collection removed, or would. */
export interface Garbage {
  readonly blobs: number;
  /** Of those blobs. */
  readonly bytes: number;
  /** `<snapshotter>/<key>`. */
  readonly snapshots: readonly string[];
  readonly ingests: readonly string[];
  /** How many leases had expired. */
  readonly leases: number;
  readonly problems: readonly { readonly what: string; readonly error: unknown }[];
}

/** What a part of the state folder takes. Bytes are those of the disk, in whole blocks. */
export interface StorageUse {
  readonly kind: "blobs" | "ingests" | "snapshots" | "containers" | "metadata" | "unknown";
  /** Below the state folder. */
  readonly path: string;
  /** How many things of its kind there are. */
  readonly count: number;
  readonly bytes: number;
  /** What of it a garbage collection would free now. */
  readonly reclaimableBytes: number;
}

export interface StorageReport {
  readonly root: string;
  /** Of the whole folder: what the parts take, and the folders between them. */
  readonly totalBytes: number;
  readonly parts: readonly StorageUse[];
}

/** One blob that is not as it should be. */
export interface ContentProblem {
  readonly digest: Digest;
  readonly problem: "corrupt" | "missing";
  /** The images that need it, as `<namespace> <name>`. */
  readonly images: readonly string[];
  /** Whether it is right again. Absent where nobody asked for that. */
  readonly repaired?: boolean;
  /** Why it is not. */
  readonly reason?: string;
}

export interface ContentReport {
  readonly blobs: number;
  readonly bytes: number;
  readonly problems: readonly ContentProblem[];
}

/** The files of the database. */
const database = /^mayfly\.db(?:$|[-.])/;

/** The state folder as a whole: what takes how much of it, what of that is garbage, and whether it is whole. */
export class Storage {
  readonly #parts: StorageParts;

  constructor(parts: StorageParts) {
    this.#parts = parts;
  }

  /** @throws failed_precondition where database and folder do not belong together. */
  collect(options: { readonly dryRun: boolean }): Promise<Garbage> {
    return this.#parts.collect(options);
  }

  /** Explains every byte of the state folder. */
  async usage(signal?: AbortSignal): Promise<StorageReport> {
    const { kernel, root, content, metadata, snapshotters } = this.#parts;
    const bytesOf = async (path: string) => {
      const status = lstatSync(join(root, path));
      if (!status.isDirectory()) return status.blocks * 512;
      return (await treeUsage(kernel, join(root, path), signal === undefined ? {} : { signal })).bytes;
    };
    const garbage = await this.#parts.collect({ dryRun: true });
    const blobs = await Array.fromAsync(content.list());
    const parts: StorageUse[] = [];
    const add = async (kind: StorageUse["kind"], path: string, count: number, reclaimableBytes = 0) =>
      parts.push({ kind, path, count, bytes: await bytesOf(path), reclaimableBytes });
    await add("blobs", "content/blobs", blobs.length, garbage.bytes);
    await add("ingests", "content/ingest", (await content.ingests()).length);
    for (const name of folders(join(root, "snapshots"))) {
      const snapshotter = snapshotters.get(name);
      const path = `snapshots/${name}`;
      // Nobody can tell what is in the folder of a snapshotter that does not run.
      if (snapshotter === undefined) await add("unknown", path, 1);
      else await add("snapshots", path, (await snapshotter.walk()).length, await snapshotBytes(snapshotter, garbage));
    }
    if (folders(root).includes("containers")) {
      await add("containers", "containers", (await metadata.containers.list()).length);
    }
    // What CRIU writes, or restores from, is in a folder each, which goes when that is done.
    if (folders(root).includes("checkpoints")) {
      await add("ingests", "checkpoints", folders(join(root, "checkpoints")).length);
    }
    const known = ["content", "snapshots", "containers", "checkpoints"];
    for (const name of readdirSync(root).toSorted()) {
      if (known.includes(name)) continue;
      const own = name === "lock" || name === "id" || name === "secret.key" || database.test(name);
      await add(own ? "metadata" : "unknown", name, 1);
    }
    return { root, totalBytes: await bytesOf("."), parts };
  }

  /**
   * Reads every blob and compares it with its digest, and looks for those that images name and that are not here. What was
   * unpacked of them is not looked at: remove the image's snapshots to have them unpacked again.
   * @param options.repair removes corrupt blobs, and brings what images need of them, and what is missing, from where they came.
   */
  async verify(
    { repair = false, signal }: { readonly repair?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<ContentReport> {
    const { content, metadata } = this.#parts;
    const corrupt = new Set<Digest>();
    let [blobs, bytes] = [0, 0];
    for await (const { digest, size } of content.list()) {
      signal?.throwIfAborted();
      blobs++;
      bytes += size;
      if (!await isWhole(content, digest)) corrupt.add(digest);
    }
    const users = new Map<Digest, Set<string>>([...corrupt].map((digest) => [digest, new Set()]));
    const missing = new Set<Digest>();
    const images = await metadata.images.all();
    for (const { namespace, name, target } of images) {
      for (const { digest, problem } of await this.#damage(target.digest, corrupt)) {
        if (problem === "missing") missing.add(digest);
        users.set(digest, (users.get(digest) ?? new Set()).add(`${namespace} ${name}`));
      }
    }
    const problems = [...users].map(([digest, images]): ContentProblem => ({
      digest,
      problem: missing.has(digest) ? "missing" : "corrupt",
      images: [...images],
    }));
    if (!repair || problems.length === 0) return { blobs, bytes, problems };
    return { blobs, bytes, problems: await this.#repair(problems) };
  }

  /** Gives names again to the images whose names were lost with the database. */
  recover(namespace: string): Promise<Recovery> {
    return recoverImages(this.#parts, namespace);
  }

  async #repair(problems: readonly ContentProblem[]): Promise<readonly ContentProblem[]> {
    const { content, refetch } = this.#parts;
    const failures = new Map<string, string>();
    for (const { digest, problem } of problems) {
      if (problem === "missing") continue;
      await content.delete(digest).catch((error: unknown) => {
        if (codeOf(error) !== "not_found") failures.set(digest, messageOf(error));
      });
    }
    for (const image of new Set(problems.flatMap(({ images }) => images))) {
      const [namespace = "", name = ""] = image.split(" ");
      try {
        await refetch(namespace, name);
      } catch (error) {
        failures.set(image, messageOf(error));
      }
    }
    return await Promise.all(problems.map(async (problem) => {
      // What no image needs is garbage, and right when it is gone.
      const repaired = problem.images.length === 0
        ? !failures.has(problem.digest)
        : await isWhole(content, problem.digest);
      const reason = failures.get(problem.digest) ?? problem.images.map((image) => failures.get(image)).find(Boolean);
      if (repaired) return { ...problem, repaired };
      return {
        ...problem,
        repaired,
        reason: reason ?? "the name points at another image now: what was damaged is gone",
      };
    }));
  }

  /** What of an image is damaged. Manifests of an index that were never pulled are not missing, unless all are. */
  async #damage(
    root: Digest,
    corrupt: ReadonlySet<Digest>,
  ): Promise<{ readonly digest: Digest; readonly problem: ContentProblem["problem"] }[]> {
    const { content } = this.#parts;
    if (corrupt.has(root)) return [{ digest: root, problem: "corrupt" }];
    if (!await isThere(content, root)) return [{ digest: root, problem: "missing" }];
    const document = readManifest(await content.bytes(root, documentBytes), root);
    if (document.kind === "index") {
      const there: Digest[] = [];
      for (const { digest } of document.index.manifests) if (await isThere(content, digest)) there.push(digest);
      if (there.length === 0) return document.index.manifests.map(({ digest }) => ({ digest, problem: "missing" }));
      return (await Promise.all(there.map((digest) => this.#damage(digest, corrupt)))).flat();
    }
    const { config, layers } = document.manifest;
    const found: { digest: Digest; problem: ContentProblem["problem"] }[] = [];
    for (const { digest } of [config, ...layers]) {
      if (corrupt.has(digest)) found.push({ digest, problem: "corrupt" });
      else if (!await isThere(content, digest)) found.push({ digest, problem: "missing" });
    }
    return found;
  }
}

function folders(path: string): readonly string[] {
  return readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

async function snapshotBytes(snapshotter: Snapshotter, { snapshots }: Garbage): Promise<number> {
  let bytes = 0;
  for (const name of snapshots) {
    if (!name.startsWith(`${snapshotter.id}/`)) continue;
    bytes += (await snapshotter.usage(name.slice(snapshotter.id.length + 1))).bytes;
  }
  return bytes;
}
