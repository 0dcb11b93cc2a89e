import { join } from "node:path";
import { copies } from "../../snapshotters/native/copies.ts";
import { LocalContent } from "../../src/content/store.ts";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { chainIds, type Digest, digestOf } from "../../src/core/digest.ts";
import { RecordedSnapshotter } from "../../src/core/recorded_snapshotter.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { SnapshotFolders } from "../../src/linux/snapshot_folders.ts";
import { WholeTrees } from "../../src/linux/whole_trees.ts";
import { collectGarbage, type GarbageCollection } from "../../src/metadata/gc.ts";
import { temporaryMetadata } from "./open.ts";

const host = await currentHost();

/** A root folder with everything that garbage collection works on. */
export async function openCollectable() {
  await using stack = new AsyncDisposableStack();
  const { metadata, root } = stack.use(await temporaryMetadata());
  const content = await LocalContent.open(join(root, "content"));
  const kernel = new Kernel(host);
  const folders = await SnapshotFolders.open(kernel, join(root, "snapshots", "native"));
  const snapshotter = new RecordedSnapshotter({
    id: "native",
    scratch: false,
    store: metadata.snapshots("native"),
    files: new WholeTrees(folders, copies(kernel)),
  });
  const owned = stack.move();
  return {
    metadata,
    content,
    snapshotter,
    root,
    collect: (options: Partial<GarbageCollection> = {}) =>
      collectGarbage({
        metadata,
        content,
        snapshotters: new Map([["native", snapshotter]]),
        graceMs: -1000,
        ...options,
      }),
    blobs: async () => (await Array.fromAsync(content.list())).map(({ digest }) => digest).sort(),
    keys: async () => (await snapshotter.walk()).map(({ key }) => key).sort(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
export type Collectable = Awaited<ReturnType<typeof openCollectable>>;

export async function store(content: LocalContent, text: string): Promise<Digest> {
  await using ingest = await content.writer(`test-${text}`);
  await ingest.write(new TextEncoder().encode(text));
  return (await ingest.commit()).digest;
}

/** What an image of some layers consists of: an index that also names a manifest which is nowhere. */
export async function describeImage(...layers: string[]) {
  const texts: string[] = [];
  const put = async (mediaType: string, text: string) => {
    texts.push(text);
    return { mediaType, digest: await digestOf(text), size: text.length };
  };
  const diffIds = await Promise.all(layers.map((layer) => digestOf(`unpacked ${layer}`)));
  const rootfs = { type: "layers", diff_ids: diffIds };
  const config = await put(mediaTypes.config, JSON.stringify({ os: "linux", architecture: "amd64", rootfs }));
  const blobs = await Promise.all(layers.map((layer) => put(mediaTypes.layer, layer)));
  const manifest = await put(mediaTypes.manifest, JSON.stringify({ schemaVersion: 2, config, layers: blobs }));
  const elsewhere = { ...manifest, digest: await digestOf("another platform") };
  const target = await put(
    mediaTypes.index,
    JSON.stringify({ schemaVersion: 2, manifests: [manifest, elsewhere] }),
  );
  return {
    target,
    manifest: manifest.digest,
    blobs: [target, manifest, config, ...blobs].map(({ digest }) => digest),
    /** The blobs themselves, in any order. */
    texts,
    chain: await chainIds(diffIds),
  };
}

/** Puts an image of some layers into the stores. */
export async function makeImage({ content, snapshotter }: Collectable, ...layers: string[]) {
  const image = await describeImage(...layers);
  for (const text of image.texts) await store(content, text);
  for (const [index, key] of image.chain.entries()) {
    if ((await snapshotter.walk()).some((info) => info.key === key)) continue;
    await snapshotter.prepare(`unpack-${key}`, image.chain[index - 1]);
    await snapshotter.commit(key, `unpack-${key}`);
  }
  return image;
}
