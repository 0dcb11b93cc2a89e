import * as v from "valibot";
import { DigestSchema } from "./digest.ts";

/** Media types of the OCI image specification and of Docker's schema 2, which means the same. */
export const mediaTypes = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  layerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  layerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerSchema1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
} as const;

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md */
const PlatformSchema = v.object({
  os: v.string(),
  architecture: v.string(),
  variant: v.optional(v.string()),
  "os.version": v.optional(v.string()),
  "os.features": v.optional(v.array(v.string())),
});
export type Platform = v.InferOutput<typeof PlatformSchema>;

const Annotations = v.record(v.string(), v.string());
const Size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md */
export const DescriptorSchema = v.object({
  mediaType: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  digest: DigestSchema,
  size: Size,
  platform: v.optional(PlatformSchema),
  artifactType: v.optional(v.string()),
  annotations: v.optional(Annotations),
});
export type Descriptor = v.InferOutput<typeof DescriptorSchema>;

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md */
export const ManifestSchema = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  artifactType: v.optional(v.string()),
  config: DescriptorSchema,
  layers: v.pipe(v.array(DescriptorSchema), v.maxLength(500, "a manifest may have 500 layers at most")),
  subject: v.optional(DescriptorSchema),
  annotations: v.optional(Annotations),
});
export type Manifest = v.InferOutput<typeof ManifestSchema>;

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md */
export const IndexSchema = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  artifactType: v.optional(v.string()),
  manifests: v.pipe(v.array(DescriptorSchema), v.maxLength(1000, "an index may name 1000 manifests at most")),
  subject: v.optional(DescriptorSchema),
  annotations: v.optional(Annotations),
});
export type Index = v.InferOutput<typeof IndexSchema>;

const nullable = <T extends v.GenericSchema>(schema: T) => v.optional(v.nullable(schema));

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md */
export const ImageConfigSchema = v.object({
  os: v.string(),
  architecture: v.string(),
  variant: v.optional(v.string()),
  created: v.optional(v.string()),
  config: nullable(v.object({
    User: nullable(v.string()),
    Env: nullable(v.array(v.string())),
    Entrypoint: nullable(v.array(v.string())),
    Cmd: nullable(v.array(v.string())),
    WorkingDir: nullable(v.string()),
    StopSignal: nullable(v.string()),
    Labels: nullable(v.record(v.string(), v.string())),
    Volumes: nullable(v.record(v.string(), v.unknown())),
    ExposedPorts: nullable(v.record(v.string(), v.unknown())),
  })),
  rootfs: v.object({ type: v.literal("layers"), diff_ids: v.array(DigestSchema) }),
});
export type ImageConfig = v.InferOutput<typeof ImageConfigSchema>;
