import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { create } from "tar";
import { mediaTypes } from "../../src/core/descriptor.ts";

const applets = "sh cat echo true false sleep tr wc head dd env id ls ps kill mkdir touch rm test seq md5sum nc stat"
  .split(" ");

/** Fills a folder with a small root filesystem around Debian's static busybox. */
export function makeBusyboxRoot(root: string): void {
  for (const folder of ["bin", "etc", "tmp", "root", "proc", "sys", "dev"]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  chmodSync(join(root, "bin/busybox"), 0o755);
  chmodSync(join(root, "tmp"), 0o1777);
  for (const applet of applets) symlinkSync("busybox", join(root, "bin", applet));
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\nworker:x:1000:\naudio:x:29:worker\n");
}

/**
 * Writes an OCI layout with one busybox image.
 * @param folder an empty folder; `layout` in it becomes the layout.
 * @param config what the image's configuration says beside the defaults.
 * @returns the layout's path.
 */
export function makeBusyboxImage(folder: string, name: string, config: Readonly<Record<string, unknown>> = {}): string {
  const root = join(folder, "rootfs");
  const layout = join(folder, "layout");
  makeBusyboxRoot(root);
  mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  const put = (mediaType: string, bytes: Uint8Array | string) => {
    const digest = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(layout, "blobs/sha256", digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: Buffer.byteLength(bytes) };
  };
  const archive = join(folder, "layer.tar");
  create({ file: archive, cwd: root, portable: true, sync: true }, ["."]);
  const layer = readFileSync(archive);
  const packed = put(mediaTypes.layerGzip, gzipSync(layer, { level: 1 }));
  const image = put(
    mediaTypes.config,
    JSON.stringify({
      os: "linux",
      architecture: "amd64",
      config: { Env: ["PATH=/bin"], Cmd: ["sh"], ...config },
      rootfs: { type: "layers", diff_ids: [`sha256:${createHash("sha256").update(layer).digest("hex")}`] },
    }),
  );
  const manifest = put(
    mediaTypes.manifest,
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.manifest, config: image, layers: [packed] }),
  );
  const named = { ...manifest, annotations: { "org.opencontainers.image.ref.name": name } };
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  writeFileSync(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  return layout;
}
