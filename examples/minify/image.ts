/**
 * Makes a real OCI image FROM scratch: one layer that holds one static binary, esbuild, as npm delivered it.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { create } from "tar";

/** Where npm put the binary. */
export function esbuild(): string {
  return createRequire(import.meta.url).resolve("@esbuild/linux-x64/bin/esbuild");
}

/**
 * Writes an OCI image layout.
 * @param folder an empty folder for the layout.
 * @param name what the image is called.
 */
export function makeImage(folder: string, name: string): void {
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  const blob = (bytes: Uint8Array | string) => {
    const digest = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(folder, "blobs/sha256", digest), bytes);
    return { digest: `sha256:${digest}`, size: Buffer.byteLength(bytes) };
  };
  const json = (mediaType: string, value: unknown) => ({ mediaType, ...blob(JSON.stringify(value)) });

  const archive = join(folder, "layer.tar");
  const binary = esbuild();
  create({ file: archive, cwd: join(binary, ".."), portable: true, sync: true, mtime: new Date(0) }, ["esbuild"]);
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", ...blob(readFileSync(archive)) };

  const config = json("application/vnd.oci.image.config.v1+json", {
    os: "linux",
    architecture: "amd64",
    config: { Entrypoint: ["/esbuild"], Cmd: ["--version"], User: "65534:65534", WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  });
  const manifest = json("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: [layer],
  });
  writeFileSync(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(
    join(folder, "index.json"),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ ...manifest, annotations: { "org.opencontainers.image.ref.name": name } }],
    }),
  );
}
