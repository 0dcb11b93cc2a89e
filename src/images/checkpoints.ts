import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { create, extract } from "tar";
import type { ContentStore } from "../core/content.ts";
import { type Descriptor, type Index, type Manifest, mediaTypes, type Platform } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { Hold } from "./hold.ts";
import { ingest, ingestBytes } from "./ingest.ts";
import { documentBytes, readManifest } from "./read_manifest.ts";
import { type OpenFolder, SharedFolders } from "./shared_folders.ts";

/** containerd's name for an archive of what CRIU writes. */
const archiveType = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
const checkpointType = "application/vnd.mayfly.checkpoint.v1";
const emptyType = "application/vnd.oci.empty.v1+json";

/** It suits no machine: who looks for an image for one passes it over. */
const nowhere: Platform = { os: "unknown", architecture: "unknown" };

/** The label of an image whose checkpoint was written here; its value is the index. */
export const ownCheckpointLabel = "mayfly/checkpoint";

/**
 * Checkpoints as images: an index of an ordinary image, which is the container's root filesystem as it was, and of one more
 * manifest for no platform, whose only layer is an archive of what CRIU wrote. So it is pushed, pulled and kept as a whole.
 */
export class Checkpoints {
  readonly #content: ContentStore;
  readonly #folder: string;
  readonly #open = new SharedFolders();

  /** @param folder one of this object's own. */
  constructor(content: ContentStore, folder: string) {
    this.#content = content;
    this.#folder = folder;
  }

  /** Removes what an earlier process left. */
  recover(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A new folder for CRIU to write into. */
  workspace(): OpenFolder {
    const folder = join(this.#folder, crypto.randomUUID());
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
  }

  /**
   * Stores what CRIU wrote beside the image of the root filesystem.
   * @param image its manifest. @returns the index of both.
   */
  async write(hold: Hold, folder: string, image: Descriptor, platform: Platform): Promise<Descriptor> {
    const archive = create({ cwd: folder, portable: true }, readdirSync(folder).sort());
    const digest = await ingest(this.#content, hold, archive);
    const { size } = await this.#content.info(digest);
    const config = await this.#document(hold, emptyType, {});
    const manifest: Manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: checkpointType,
      config,
      layers: [{ mediaType: archiveType, digest, size }],
    };
    const artifact = await this.#document(hold, mediaTypes.manifest, manifest);
    const index: Index = {
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: [{ ...image, platform }, { ...artifact, artifactType: checkpointType, platform: nowhere }],
    };
    return await this.#document(hold, mediaTypes.index, index);
  }

  async #document(hold: Hold, mediaType: string, document: object): Promise<Descriptor> {
    const bytes = new TextEncoder().encode(JSON.stringify(document));
    return { mediaType, digest: await ingestBytes(this.#content, hold, bytes), size: bytes.length };
  }

  /**
   * Unpacks an index's checkpoint, or shares it with who has done so.
   * @throws failed_precondition for an image that is none; not_found where only the image of it is here.
   */
  async open(index: Digest): Promise<OpenFolder> {
    const archive = await this.#archive(index);
    return await this.#open.open(archive, () => this.#unpack(archive));
  }

  async #archive(index: Digest): Promise<Digest> {
    const document = readManifest(await this.#content.bytes(index, documentBytes), index, "");
    const artifact = document.kind === "index"
      ? document.index.manifests.find(({ artifactType }) => artifactType === checkpointType)
      : undefined;
    if (artifact === undefined) {
      throw new Failure("failed_precondition", `cannot restore from image ${index}: it holds no checkpoint`);
    }
    const inner = readManifest(await this.#bytes(artifact.digest), artifact.digest, artifact.mediaType);
    const layer = inner.kind === "manifest" ? inner.manifest.layers[0] : undefined;
    if (layer?.mediaType !== archiveType) {
      throw new Failure("invalid_argument", `cannot restore from image ${index}: want one layer of ${archiveType}`);
    }
    return layer.digest;
  }

  async #bytes(digest: Digest): Promise<Uint8Array> {
    try {
      return await this.#content.bytes(digest, documentBytes);
    } catch (cause) {
      throw new Failure("not_found", `checkpoint ${digest} is not here: pull its image with --all-platforms`, {
        cause,
      });
    }
  }

  async #unpack(archive: Digest): Promise<string> {
    const { folder, [Symbol.dispose]: remove } = this.workspace();
    try {
      const names = (path: string, entry: object) =>
        /^[\w.-]+$/.test(path) && "type" in entry && (entry.type === "File" || entry.type === "OldFile");
      const into = extract({ cwd: folder, strict: true, preserveOwner: false, filter: names });
      // As buffers: the package takes no other bytes.
      await pipeline(Readable.from(await this.#content.read(archive), { objectMode: false }), into);
      return folder;
    } catch (error) {
      remove();
      throw error;
    }
  }
}
