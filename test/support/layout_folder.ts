import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import type { Digest } from "../../src/core/digest.ts";

/** The sha256 digest of bytes in memory, at once. */
export const digestOfBytes = (bytes: Uint8Array | string): Digest =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** An OCI layout that a test fills as it likes. */
export class LayoutFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    mkdirSync(join(path, "blobs/sha256"), { recursive: true });
    writeFileSync(join(path, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  }

  /** Adds a blob. @param content an object is written as JSON. */
  put(mediaType: string, content: Uint8Array | string | object): Descriptor {
    const bytes = content instanceof Uint8Array || typeof content === "string" ? content : JSON.stringify(content);
    const digest = digestOfBytes(bytes);
    writeFileSync(join(this.path, "blobs/sha256", digest.slice(7)), bytes);
    return { mediaType, digest, size: Buffer.byteLength(bytes) };
  }

  /** Adds a layer. */
  layer(archive: Uint8Array, form: "plain" | "gzip" | "zstd" = "gzip"): Descriptor {
    if (form === "plain") return this.put(mediaTypes.layer, archive);
    return form === "gzip"
      ? this.put(mediaTypes.layerGzip, gzipSync(archive, { level: 1 }))
      : this.put(mediaTypes.layerZstd, zstdCompressSync(archive));
  }

  /** Adds an image of these archives, packed in turn with gzip, zstd and not at all. @returns its manifest. */
  image(
    archives: readonly Uint8Array[],
    options: {
      readonly architecture?: string;
      readonly os?: string;
      readonly diffIds?: readonly string[];
      readonly zstd?: boolean;
      /** Of its manifest. */
      readonly annotations?: Readonly<Record<string, string>>;
      /** The `config` of its configuration: `Env`, `Cmd`, … */
      readonly config?: Readonly<Record<string, unknown>>;
    } = {},
  ): Descriptor {
    const forms = ["gzip", options.zstd === false ? "gzip" : "zstd", "plain"] as const;
    const layers = archives.map((archive, i) => this.layer(archive, forms[i % 3]));
    return this.imageOf(layers, archives, options);
  }

  /** Adds an image of layers that are there. @param archives what they are when they are unpacked. */
  imageOf(
    layers: readonly Descriptor[],
    archives: readonly Uint8Array[],
    options: {
      readonly architecture?: string;
      readonly os?: string;
      readonly diffIds?: readonly string[];
      readonly annotations?: Readonly<Record<string, string>>;
      readonly config?: Readonly<Record<string, unknown>>;
    } = {},
  ): Descriptor {
    const { os = "linux", architecture = "amd64", diffIds = archives.map(digestOfBytes) } = options;
    const { annotations, config: settings } = options;
    const config = this.put(mediaTypes.config, {
      os,
      architecture,
      config: settings,
      rootfs: { type: "layers", diff_ids: diffIds },
    });
    const manifest = this.put(mediaTypes.manifest, {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config,
      layers,
      ...(annotations && { annotations }),
    });
    return { ...manifest, platform: { os, architecture } };
  }

  /** Adds an artifact, as oras does. @param layers its files, with titles. */
  artifact(layers: readonly Descriptor[]): Descriptor {
    return this.put(mediaTypes.manifest, {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: "application/vnd.unknown.artifact.v1",
      config: this.put("application/vnd.oci.empty.v1+json", "{}"),
      layers,
    });
  }

  /** Adds an index. */
  index(manifests: readonly Descriptor[]): Descriptor {
    return this.put(mediaTypes.index, { schemaVersion: 2, mediaType: mediaTypes.index, manifests });
  }

  /** Names images; the layout is complete then. @returns its path. */
  name(images: Readonly<Record<string, Descriptor>>): string {
    const manifests = Object.entries(images).map(([name, descriptor]) => ({
      ...descriptor,
      ...(name === "" ? {} : { annotations: { "org.opencontainers.image.ref.name": name } }),
    }));
    writeFileSync(join(this.path, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
    return this.path;
  }
}
