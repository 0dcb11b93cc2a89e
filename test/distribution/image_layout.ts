import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import type { Digest } from "../../src/core/digest.ts";

export interface TinyImage {
  /** As skopeo names it. */
  readonly source: string;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layer: Descriptor;
}

/** Writes an image of one layer as an OCI layout. The layer is no archive: a registry does not look into it. */
export async function writeLayout(folder: string, layer: Uint8Array): Promise<TinyImage> {
  await mkdir(join(folder, "blobs/sha256"), { recursive: true });
  const put = async (mediaType: string, bytes: Uint8Array): Promise<Descriptor> => {
    const digest: Digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    await writeFile(join(folder, "blobs/sha256", digest.slice(7)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const packed = await put(mediaTypes.layerGzip, gzipSync(layer, { level: 1 }));
  const diffId = `sha256:${createHash("sha256").update(layer).digest("hex")}`;
  const config = await put(
    mediaTypes.config,
    json({ os: "linux", architecture: "amd64", config: {}, rootfs: { type: "layers", diff_ids: [diffId] } }),
  );
  const manifest = await put(
    mediaTypes.manifest,
    json({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [packed] }),
  );
  const named = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "tiny" } };
  await writeFile(join(folder, "index.json"), json({ schemaVersion: 2, manifests: [named] }));
  await writeFile(join(folder, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  return { source: `oci:${folder}:tiny`, manifest, config, layer: packed };
}
