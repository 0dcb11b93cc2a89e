import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { digestOfBytes, LayoutFolder } from "../support/layout_folder.ts";

export interface TinyImage {
  /** As skopeo names it. */
  readonly source: string;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layer: Descriptor;
}

/** Writes an image of one layer as an OCI layout. The layer is no archive: a registry does not look into it. */
export function writeLayout(path: string, content: Uint8Array): TinyImage {
  const folder = new LayoutFolder(path);
  const layer = folder.layer(content);
  const config = folder.put(mediaTypes.config, {
    os: "linux",
    architecture: "amd64",
    config: {},
    rootfs: { type: "layers", diff_ids: [digestOfBytes(content)] },
  });
  const manifest = folder.put(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config,
    layers: [layer],
  });
  return { source: `oci:${folder.name({ tiny: manifest })}:tiny`, manifest, config, layer };
}
