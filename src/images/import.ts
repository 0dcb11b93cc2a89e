import { Failure } from "../core/errors.ts";
import { importDockerArchive } from "./import_docker.ts";
import { importOciLayout } from "./import_oci.ts";
import type { ImportedImage, ImportOptions } from "./import_parts.ts";
import { openLayout } from "./layout.ts";

/** Takes the content of images on disk into the content store. @throws as `Images.import`. */
export async function importImages(options: ImportOptions): Promise<readonly ImportedImage[]> {
  await using layout = await openLayout(options.path);
  // What `docker save` writes today is both: the layout says more.
  if (await layout.size("index.json") !== undefined) return await importOciLayout(layout, options);
  if (await layout.size("manifest.json") !== undefined) return await importDockerArchive(layout, options);
  throw new Failure(
    "invalid_argument",
    `cannot import ${JSON.stringify(options.path)}: it has neither an index.json (OCI layout) nor a manifest.json ` +
      `(docker save)`,
  );
}
