import type { ContentStore } from "../core/content.ts";
import type { Descriptor, Platform } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import type { Distribution, DistributionOptions } from "../core/distribution.ts";
import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import type { Host } from "../core/host.ts";
import type { Image } from "../core/image.ts";
import type { ImageToVerify, ImageVerifier } from "../core/image_verifier.ts";
import type { Labels } from "../core/labels.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Monitor, Span, Traced } from "../core/monitor.ts";
import { defaultPlatform, formatPlatform } from "../core/platform.ts";
import { OwnRegistry } from "../core/own_registry.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import { descriptorOf } from "../core/repository.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { observed, step } from "../monitoring/observe.ts";
import { Kernel } from "../linux/kernel.ts";
import { artifactFiles, isArtifact } from "./artifact.ts";
import { ArtifactFolders } from "./artifact_folders.ts";
import { defaultLimits, type UnpackLimits } from "./budget.ts";
import { commitImage } from "./commit.ts";
import { checkContent } from "./check_content.ts";
import { Checkpoints, ownCheckpointLabel } from "./checkpoints.ts";
import { copyIn, type CopyInOptions } from "./copy_in.ts";
import { copyOut, type CopyOutOptions, describeFile, type FileDescription } from "./copy_out.ts";
import { diffFolder, type FileChange } from "./diff.ts";
import { exportImages } from "./export.ts";
import { Fetcher } from "./fetch.ts";
import { removeHalfDone } from "./half_done.ts";
import { Hold } from "./hold.ts";
import type {
  BuildImageOptions,
  CheckpointImageOptions,
  CommitImageOptions,
  PullOptions,
  PushImageOptions,
  UnpackImageOptions,
} from "./image_options.ts";
import { importImages } from "./import.ts";
import { layerArchive } from "./layer_archive.ts";
import { type OnProgress, sparsely } from "./progress.ts";
import { everyBlob, fetchHeld, LayerDownloads, PendingWrites } from "./pull.ts";
import { pushImage } from "./push.ts";
import { checkManifest, type ResolvedImage, resolveImage, resolveManifest, withConfig } from "./resolve.ts";
import type { OpenFolder } from "./shared_folders.ts";
import { type SyncFilesystem, Unpacker } from "./unpack.ts";
import type { UnpackThreads } from "./unpack_threads.ts";
import { type ImageCheck, ownVerdict, verdictsOf } from "./verdicts.ts";

const cachedImages = 256;

export interface ImagesParts {
  readonly content: ContentStore;
  readonly distribution: Distribution;
  readonly metadata: Metadata;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly host: Host;
  readonly events?: Events;
  readonly monitor?: Monitor;
  /** Called before a layer is committed. Default: a power cut may lose some of its files. */
  readonly sync?: SyncFilesystem;
  readonly limits?: UnpackLimits;
  /** A folder of this one's own, for checkpoints on their way. Default: none are written or restored. */
  readonly checkpoints?: string;
  /** A folder of this one's own, for the files of artifacts that are mounted. Default: none are. */
  readonly artifacts?: string;
  /** Whether checkpoints from elsewhere are restored: CRIU does as root what they say. Default false. */
  readonly foreignCheckpoints?: boolean;
  /** The registry that this daemon is itself. Default: it is none. */
  readonly own?: OwnRegistry;
  /** Who has to accept an image before it comes from a registry. Default: nobody. */
  readonly verifiers?: readonly ImageVerifier[];
  /** What unpacks large layers. Default: this thread does. */
  readonly threads?: UnpackThreads;
}

/** Images: names that point at content, where they come from, and how they become snapshots. */
export class Images {
  readonly #parts: ImagesParts;
  readonly #fetcher: Fetcher;
  readonly #unpacker: Unpacker;
  readonly #kernel: Kernel;
  readonly #platform: Platform;
  readonly #own: OwnRegistry;
  readonly #checkpoints: Checkpoints | undefined;
  readonly #artifacts: ArtifactFolders | undefined;
  /** What has been resolved, by digest and platform; content never changes. */
  readonly #resolved = new Map<string, ResolvedImage>();

  constructor(parts: ImagesParts) {
    this.#parts = parts;
    this.#fetcher = new Fetcher(parts.content, parts.distribution);
    this.#unpacker = new Unpacker({ ...parts, limits: parts.limits ?? defaultLimits });
    this.#kernel = new Kernel(parts.host);
    this.#platform = defaultPlatform(parts.host.arch);
    this.#own = parts.own ?? new OwnRegistry();
    this.#checkpoints = parts.checkpoints === undefined ? undefined : new Checkpoints(parts.content, parts.checkpoints);
    this.#artifacts = parts.artifacts === undefined ? undefined : new ArtifactFolders(parts.content, parts.artifacts);
  }

  /**
   * Brings an image from its registry: manifest, configuration and layers for one platform, then the name.
   * @param name for example `alpine:3.20`, `ghcr.io/owner/name@sha256:…`.
   * @throws what the registry answers; invalid_argument for what is no image; not_found for a platform that it has not;
   * data_loss where bytes do not match their digest; permission_denied where a verifier refuses it; as `unpack` with a
   * snapshotter.
   */
  async pull(namespace: string, name: string, { parent, ...options }: PullOptions = {}): Promise<Image> {
    const reference = this.#own.parse(name);
    const observe = { operation: "pull", parent, attributes: imageAttributes(namespace, name) } as const;
    return await observed(this.#parts.monitor, observe, (span) => this.#pull(namespace, reference, options, span));
  }

  async #pull(
    namespace: string,
    reference: ImageReference,
    options: Omit<PullOptions, "parent">,
    parent: Span | undefined,
  ): Promise<Image> {
    const { platform = this.#platform, allPlatforms = false, artifacts = false, snapshotter: id, ...asked } = options;
    if (this.#own.has(reference)) return await this.#pushed(namespace, reference, { ...options, parent });
    const { onProgress: caller, ...distribution } = asked;
    const onProgress = this.#told(namespace, "pull", formatReference(reference), caller);
    const { signal } = distribution;
    const { monitor } = this.#parts;
    const snapshotter = id === undefined ? undefined : this.#snapshotter(id);
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "pull");

    await using writes = new PendingWrites();
    const fetch = writes.documents(this.#fetcher, hold, reference, distribution);
    const resolving = { content: this.#parts.content, platform, fetch };
    const { target, resolved } = await step(monitor, "resolve", { parent }, async () => {
      const target = await this.#parts.distribution.resolve(reference, distribution);
      await this.#verify({ namespace, reference, target }, distribution, parent);
      const resolved = await resolveManifest(target, resolving);
      checkManifest(resolved, { artifacts });
      return { target, resolved };
    });
    parent?.set({ "oci.manifest.digest": resolved.descriptor.digest });
    const fetching = [this.#fetcher, hold, reference, { ...distribution, onProgress }] as const;
    const blob = snapshotter === undefined ? fetchHeld(...fetching) : writes.layers(...fetching);
    const download: typeof blob = (layer, signal) => {
      const attributes = { "mayfly.blob.digest": layer.digest, "mayfly.blob.size": layer.size };
      return step(monitor, "download", { parent, attributes }, () => blob(layer, signal));
    };
    const { config, layers } = resolved.manifest;
    const blobs = isArtifact(resolved.manifest) ? [config, ...layers] : layers;
    const others = allPlatforms ? await everyBlob(target, resolving) : [];
    const downloads = new LayerDownloads([...blobs, ...others], download, signal);
    try {
      // While the layers are on their way already.
      const image = isArtifact(resolved.manifest)
        ? undefined
        : await step(monitor, "configuration", { parent }, () => withConfig(resolved, resolving));
      if (image !== undefined && snapshotter !== undefined) {
        const arrived = downloads.arrived.bind(downloads);
        await this.#unpacker.unpack(image, snapshotter, { hold, onProgress, signal, arrived, parent });
      }
    } catch (error) {
      await downloads.stop(error);
      throw error;
    }
    await downloads.done;
    await writes.done();
    return await this.#put(namespace, reference, target);
  }

  /** @throws what a verifier does that does not accept an image. */
  async #verify(image: ImageToVerify, options: DistributionOptions, parent: Span | undefined): Promise<void> {
    const { verifiers = [], monitor } = this.#parts;
    if (verifiers.length === 0) return;
    const attributes = { "oci.manifest.digest": image.target.digest };
    await step(monitor, "verify", { parent, attributes }, async () => {
      for (const verifier of verifiers) await verifier.verify(image, options);
    });
  }

  /** What was pushed here comes from nowhere else. A digest becomes a name of its own. @throws not_found. */
  async #pushed(
    namespace: string,
    { tag, ...reference }: ImageReference,
    { platform, artifacts, snapshotter, onProgress, signal, parent }: PullOptions,
  ): Promise<Image> {
    const { repository, digest } = reference;
    const manifest = digest && await this.#parts.metadata.repositories.manifest({ namespace, repository }, digest);
    const image = manifest === undefined
      ? await this.get(namespace, formatReference(digest === undefined ? { ...reference, tag } : reference))
      : await this.#put(namespace, reference, descriptorOf(manifest));
    if (
      snapshotter !== undefined && (artifacts !== true || !isArtifact((await this.#manifest(image.target)).manifest))
    ) {
      const { manifestDigest } = await this.config(image.target, platform);
      const told = { namespace, name: image.name };
      await this.unpack(manifestDigest, snapshotter, { image: told, onProgress, signal, parent });
    }
    return image;
  }

  /**
   * Reads all that is here of an image, and asks the verifiers of it, as a pull of what its name points at here would.
   * @param options how to reach its registry, where its signatures are.
   * @throws not_found for the name; invalid_argument.
   */
  async verify(namespace: string, name: string, options: DistributionOptions = {}): Promise<ImageCheck> {
    const image = await this.get(namespace, name);
    const { content, limits = defaultLimits, verifiers = [] } = this.#parts;
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "verify");
    await hold.content(image.target.digest);
    const { blobs, elsewhere } = await checkContent(content, image.target, { limits, signal: options.signal });
    const reference = this.#own.parse(image.name);
    const verdicts = verifiers.length > 0 && this.#own.has(reference)
      ? [ownVerdict]
      : await verdictsOf(verifiers, { namespace, reference, target: image.target }, options);
    const ok = blobs.every(({ state }) => state === "whole") &&
      verdicts.every(({ state }) => state === "accepted" || state === "unasked");
    return { name: image.name, digest: image.target.digest, blobs, elsewhere, verdicts, ok };
  }

  /** What an image of the daemon's own registry is called; undefined for others. @throws invalid_argument. */
  ownName(name: string): string | undefined {
    const reference = this.#own.parse(name);
    return this.#own.has(reference) ? formatReference(reference) : undefined;
  }

  /** What the name of an image means, as it is recorded. @throws invalid_argument. */
  fullName(name: string): string {
    return formatReference(this.#own.parse(name));
  }

  /**
   * Brings what an image lacks of its content, from where its name says, without moving the name.
   * @throws as `pull`.
   */
  async refetch(namespace: string, name: string): Promise<void> {
    const image = await this.get(namespace, name);
    const exact = { ...this.#own.parse(image.name), digest: image.target.digest };
    const known = await this.#parts.metadata.images.get(namespace, formatReference(exact));
    await this.pull(namespace, formatReference(exact), { artifacts: true });
    if (known === undefined) await this.#parts.metadata.images.delete(namespace, formatReference(exact));
  }

  /**
   * Takes in images from disk: an OCI layout (a folder, or a tar archive of one), or what `docker save` wrote.
   * @param options.name in place of the name that is in it; needed where there is none.
   * @throws invalid_argument for what is none of these, or holds several images where one was named; data_loss where
   * content does not match its digest; not_found where content is missing.
   */
  async import(
    namespace: string,
    path: string,
    { name: given, parent }: Traced & { readonly name?: string | undefined } = {},
  ): Promise<readonly Image[]> {
    const name = given === undefined ? undefined : this.#own.parse(given);
    const observe = { operation: "import", parent, attributes: imageAttributes(namespace, given) } as const;
    return await observed(this.#parts.monitor, observe, (span) => this.#import(namespace, path, name, span));
  }

  async #import(
    namespace: string,
    path: string,
    name: ImageReference | undefined,
    parent: Span | undefined,
  ): Promise<readonly Image[]> {
    const { monitor } = this.#parts;
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "import");
    const imported = await step(
      monitor,
      "read",
      { parent },
      () => importImages({ content: this.#parts.content, hold, path, name, platform: this.#platform }),
    );
    return await step(monitor, "record", { parent }, async () => {
      const images: Image[] = [];
      for (const { reference, target } of imported) images.push(await this.#put(namespace, reference, target));
      return images;
    });
  }

  /**
   * Writes images to disk as one OCI layout.
   * @param path a folder that is not there or empty; or a file that is not there and ends in `.tar`, which is what
   * `docker save` writes, too.
   * @throws not_found; already_exists for the path; data_loss where content does not match its digest.
   */
  async export(namespace: string, names: readonly string[], path: string, { parent }: Traced = {}): Promise<void> {
    const images: Image[] = [];
    for (const name of names) images.push(await this.get(namespace, name));
    const observe = { operation: "export", parent, attributes: imageAttributes(namespace, names.join(" ")) } as const;
    await observed(this.#parts.monitor, observe, async () => {
      await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "export");
      await exportImages({ content: this.#parts.content, hold, images, platform: this.#platform, path });
    });
  }

  /**
   * Brings an image to a registry, all platforms of it that are here.
   * @returns its name there, and what that points at.
   * @throws not_found; failed_precondition where only some platforms of it are here; what the registry answers.
   */
  async push(
    namespace: string,
    name: string,
    { to: destination, platform, parent, onProgress: caller, ...options }: PushImageOptions = {},
  ): Promise<Pick<Image, "name" | "target">> {
    const image = await this.get(namespace, name);
    const to = this.#own.parse(destination ?? image.name);
    if (to.digest !== undefined && to.digest !== image.target.digest) {
      throw new Failure(
        "invalid_argument",
        `cannot push ${image.name} to ${JSON.stringify(destination)}: it has the digest ${image.target.digest}`,
      );
    }
    const observe = { operation: "push", parent, attributes: imageAttributes(namespace, formatReference(to)) } as const;
    return await observed(this.#parts.monitor, observe, async () => {
      const { content, distribution, metadata } = this.#parts;
      await using hold = await Hold.take(metadata.leases, namespace, "push");
      if (this.#own.has(to)) {
        // What has a name there is there.
        const { target } = await this.#held(hold, namespace, name);
        return await this.#put(namespace, to, target);
      }
      const others = await metadata.images.list(namespace);
      const onProgress = this.#told(namespace, "push", formatReference(to), caller);
      const target = await pushImage({ content, distribution, hold, image, to, platform, others, onProgress, options });
      return { name: formatReference(to), target };
    });
  }

  /**
   * Gives an image one more name.
   * @throws not_found; invalid_argument for a name with a digest, which is not for choosing.
   */
  async tag(namespace: string, name: string, target: string): Promise<Image> {
    const reference = this.#own.parse(target);
    if (reference.digest !== undefined) {
      throw new Failure("invalid_argument", `cannot tag ${JSON.stringify(target)}: want a tag, not a digest`);
    }
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "tag");
    const image = await this.#held(hold, namespace, name);
    const own = image.labels[ownCheckpointLabel];
    const full = formatReference(this.#own.canonical(reference));
    return await this.record(
      namespace,
      full,
      image.target,
      own === undefined ? undefined : { [ownCheckpointLabel]: own },
    );
  }

  list(namespace: string): Promise<readonly Image[]> {
    return this.#parts.metadata.images.list(namespace);
  }

  /** @returns undefined where nothing has the name. */
  async find(namespace: string, name: string): Promise<Image | undefined> {
    return await this.#parts.metadata.images.get(namespace, this.fullName(name));
  }

  /** @throws not_found. */
  async get(namespace: string, name: string): Promise<Image> {
    const image = await this.find(namespace, name);
    if (image !== undefined) return image;
    throw new Failure(
      "not_found",
      `cannot find image ${JSON.stringify(this.fullName(name))} in namespace ${
        JSON.stringify(namespace)
      }: pull or import it`,
    );
  }

  /** What has the name, held: it had it still when the lease was there, so that nothing of it is lost. @throws not_found. */
  async #held(hold: Hold, namespace: string, name: string): Promise<Image> {
    let before: Digest | undefined;
    while (true) {
      const image = await this.get(namespace, name);
      if (image.target.digest === before) return image;
      before = image.target.digest;
      await hold.content(before);
    }
  }

  /** Removes the name. Content and snapshots go when nothing refers to them any more. @throws not_found. */
  async remove(namespace: string, name: string): Promise<void> {
    const image = await this.get(namespace, name);
    await this.#parts.metadata.images.delete(namespace, image.name);
    this.#parts.events?.publish("/images/delete", namespace, { name: image.name });
  }

  /**
   * What an image says of itself: from an index, a manifest, or a manifest's digest alone.
   * @param platform default: this machine's.
   * @throws as `resolveImage`.
   */
  async config(target: Digest | Descriptor, platform: Platform = this.#platform): Promise<ResolvedImage> {
    const descriptor = typeof target === "string" ? { digest: target, mediaType: "", size: 0 } : target;
    const key = `${descriptor.digest} ${formatPlatform(platform)}`;
    const cached = this.#resolved.get(key);
    if (cached !== undefined) return cached;
    const image = await resolveImage(descriptor, { content: this.#parts.content, platform });
    const [oldest] = this.#resolved.keys();
    if (this.#resolved.size >= cachedImages && oldest !== undefined) this.#resolved.delete(oldest);
    this.#resolved.set(key, image);
    return image;
  }

  /** The manifest of an image or artifact, from an index or manifest. @throws as `resolveManifest`. */
  async manifest(target: Descriptor): Promise<Digest> {
    return (await this.#manifest(target)).descriptor.digest;
  }

  #manifest(target: Descriptor) {
    return resolveManifest(target, { content: this.#parts.content, platform: this.#platform });
  }

  /**
   * The files of an artifact, in a folder.
   * @param digest of its manifest. @returns undefined for an image. @throws as `artifactFiles`; as `ArtifactFolders.open`.
   */
  async openArtifact(digest: Digest): Promise<OpenFolder | undefined> {
    const { manifest } = await this.#manifest({ digest, mediaType: "", size: 0 });
    if (!isArtifact(manifest)) return undefined;
    const files = artifactFiles(manifest, digest);
    if (this.#artifacts !== undefined) return await this.#artifacts.open(digest, files);
    throw new Failure("unimplemented", "cannot show the files of an artifact here: there is no folder for them");
  }

  /**
   * Unpacks an image's layers into a snapshotter, those that are not there.
   * @returns the key of the committed snapshot that holds the whole image.
   * @throws as `config`; data_loss for a layer that is corrupt; resource_exhausted past the limits; invalid_argument for
   * an entry that leads out of the root.
   */
  async unpack(manifest: Digest, snapshotter: string, options: UnpackImageOptions = {}): Promise<string> {
    const into = this.#snapshotter(snapshotter);
    const image = await this.config(manifest);
    const attributes = { "oci.manifest.digest": manifest, "mayfly.snapshotter": snapshotter };
    const observe = { operation: "unpack", parent: options.parent, attributes } as const;
    const { image: told, onProgress: caller, signal } = options;
    const onProgress = told === undefined ? caller : this.#told(told.namespace, "unpack", told.name, caller);
    return await observed(this.#parts.monitor, observe, async (parent) => {
      await using hold = await Hold.take(this.#parts.metadata.leases, "default", "unpack");
      await hold.contents(image.layers.map(({ descriptor }) => descriptor.digest));
      return await this.#unpacker.unpack(image, into, { onProgress, signal, parent, hold });
    });
  }

  /**
   * What a container changed of its image.
   * @param key the container's snapshot, an active one.
   * @throws not_found; failed_precondition for a snapshot that keeps no changes.
   */
  async diff(
    snapshotter: string,
    key: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly FileChange[]> {
    const folder = await this.#snapshotter(snapshotter).folder(key);
    return await diffFolder(this.#kernel, folder, options.signal);
  }

  /**
   * Makes an image of a container: its image's layers, what it changed as one more, and its configuration changed.
   * @throws as `diff`; not_found where content of the base is not here; invalid_argument for a name or changes that are
   * malformed.
   */
  async commit(namespace: string, options: CommitImageOptions): Promise<Image> {
    const reference = this.#newTag(options.name);
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "commit");
    return await this.#put(namespace, reference, await this.#commit(hold, options));
  }

  async #commit(hold: Hold, options: CommitImageOptions): Promise<Descriptor> {
    const { content } = this.#parts;
    const folder = await this.#snapshotter(options.snapshotter).folder(options.key);
    const base = await this.config(options.base);
    const archive = layerArchive(this.#kernel, folder, options.signal);
    return await commitImage({ ...options, content, hold, base, archive });
  }

  /**
   * Makes an image of another one and one layer more, which is kept as it is. The same base, layer and changes make the same
   * image, wherever and whenever.
   * @throws as `pull` for a base that is not here; invalid_argument for a name or changes that are malformed, or for what is
   * no layer; as `unpack`.
   */
  async build(namespace: string, { base: name, parent, ...options }: BuildImageOptions): Promise<Image> {
    const reference = this.#newTag(options.name);
    const found = await this.find(namespace, name) ??
      await this.pull(namespace, name, { parent, signal: options.signal });
    const base = await this.config(found.target);
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "build");
    const { content } = this.#parts;
    const fixed = { compression: "none", createdAt: new Date(0), createdBy: "mayfly build" } as const;
    const target = await commitImage({ ...options, ...fixed, content, hold, base });
    // Before it has a name: what is no layer is refused.
    await this.unpack(target.digest, options.snapshotter, { parent, signal: options.signal }).catch((cause) => {
      if (codeOf(cause) !== "data_loss") throw cause;
      throw new Failure("invalid_argument", `cannot build an image: its layer is none: ${messageOf(cause)}`, { cause });
    });
    return await this.#put(namespace, reference, target);
  }

  /** @throws invalid_argument for a name that is not for choosing. */
  #newTag(name: string): ImageReference {
    const reference = this.#own.parse(name);
    if (reference.digest === undefined) return reference;
    throw new Failure("invalid_argument", `cannot commit to ${JSON.stringify(name)}: want a tag, not a digest`);
  }

  /**
   * Makes an image of a container as it runs: as `commit`, and with what its processes have in memory.
   * @throws as `commit`, and as `dump`.
   */
  async checkpoint(namespace: string, { dump, ...options }: CheckpointImageOptions): Promise<Image> {
    const reference = this.#newTag(options.name);
    const checkpoints = this.#needCheckpoints();
    await using hold = await Hold.take(this.#parts.metadata.leases, namespace, "checkpoint");
    using workspace = checkpoints.workspace();
    const { config } = await this.config(options.base);
    let image: Image | undefined;
    await dump(workspace.folder, async () => {
      const target = await checkpoints.write(hold, workspace.folder, await this.#commit(hold, options), config);
      const labels = { [ownCheckpointLabel]: target.digest };
      image = await this.record(namespace, formatReference(this.#own.canonical(reference)), target, labels);
    });
    if (image === undefined) throw new Failure("internal", "the processes were written, and nobody took them");
    return image;
  }

  /**
   * Sees that an image's checkpoint may be restored.
   * @throws permission_denied for one from elsewhere, unless those are trusted.
   */
  checkRestore({ name, labels, target }: Image): void {
    if (this.#parts.foreignCheckpoints === true || labels[ownCheckpointLabel] === target.digest) return;
    throw new Failure(
      "permission_denied",
      `cannot restore ${name}: it was not written by this daemon, and CRIU would do as root whatever it says: ` +
        "set foreignCheckpoints if you trust where it is from",
    );
  }

  /** The files of a checkpoint. @param index of an image that `checkRestore` has seen. @throws as `Checkpoints.open`. */
  openCheckpoint(index: Digest): Promise<OpenFolder> {
    return this.#needCheckpoints().open(index);
  }

  #needCheckpoints(): Checkpoints {
    if (this.#checkpoints !== undefined) return this.#checkpoints;
    throw new Failure("unimplemented", "cannot write or restore a checkpoint here: there is no folder for them");
  }

  /** Unpacks an archive into a container. @param root its open root. @throws as `copyIn` of `copy_in.ts`. */
  copyIn(root: number, path: string, archive: AsyncIterable<Uint8Array>, options: CopyInOptions = {}): Promise<void> {
    return copyIn(this.#kernel, root, path, archive, options);
  }

  /** An archive of what a container has at a path. @param root its open root. @throws as `copyOut` of `copy_out.ts`. */
  copyOut(root: number, path: string, options?: CopyOutOptions): Promise<AsyncIterable<Uint8Array<ArrayBuffer>>> {
    return copyOut(this.#kernel, root, path, options);
  }

  /** What a container has at a path. @param root its open root. @throws not_found; invalid_argument. */
  describeFile(root: number, path: string): FileDescription {
    return describeFile(this.#kernel, root, path);
  }

  /**
   * Removes what an earlier process left half imported or half unpacked, and its leases; of leases and snapshots nothing
   * where the database may not be this root's own, since then every folder would look like that.
   * @returns ingests, keys and folders.
   */
  async recover(): Promise<readonly string[]> {
    this.#checkpoints?.recover();
    this.#artifacts?.recover();
    return await removeHalfDone(this.#parts);
  }

  #put(namespace: string, reference: ImageReference, target: Descriptor): Promise<Image> {
    return this.record(namespace, formatReference(this.#own.canonical(reference)), target);
  }

  /**
   * Points a name at content that is here, and that something holds already.
   * @param name in full, as `formatReference` writes it.
   */
  async record(namespace: string, name: string, target: Descriptor, labels?: Labels): Promise<Image> {
    const image = await this.#parts.metadata.images.put({ namespace, name, target, ...(labels && { labels }) });
    const isNew = image.createdAt.getTime() === image.updatedAt.getTime();
    const topic = isNew ? "/images/create" : "/images/update";
    this.#parts.events?.publish(topic, namespace, { name, digest: target.digest });
    return image;
  }

  /** Tells the progress of an image's layers to a caller, and sparsely as events. */
  #told(
    namespace: string,
    operation: "pull" | "push" | "unpack",
    name: string,
    caller: OnProgress | undefined,
  ): OnProgress | undefined {
    const { events } = this.#parts;
    if (events === undefined) return caller;
    const publish = sparsely((step) => events.publish("/layers/progress", namespace, { name, operation, ...step }));
    return (progress) => {
      publish(progress);
      caller?.(progress);
    };
  }

  #snapshotter(id: string): Snapshotter {
    const snapshotter = this.#parts.snapshotters.get(id);
    if (snapshotter !== undefined) return snapshotter;
    const known = [...this.#parts.snapshotters.keys()].join(", ") || "none";
    throw new Failure("invalid_argument", `no snapshotter ${JSON.stringify(id)} is running: there are ${known}`);
  }
}

function imageAttributes(namespace: string, name: string | undefined) {
  return { "mayfly.namespace": namespace, "container.image.name": name };
}
