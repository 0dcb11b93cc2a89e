import type { ContentStore } from "../core/content.ts";
import type { Descriptor, Platform } from "../core/descriptor.ts";
import { Failure } from "../core/errors.ts";
import type { ImageReference } from "../core/reference.ts";
import type { Hold } from "./hold.ts";
import { importDockerArchive } from "./import_docker.ts";
import { importOciLayout } from "./import_oci.ts";
import { openLayout } from "./layout.ts";

export interface ImportOptions {
  readonly content: ContentStore;
  readonly hold: Hold;
  readonly path: string;
  /** In place of what the layout says. */
  readonly name: ImageReference | undefined;
  /** Where one name stands for several platforms, the one that is taken. */
  readonly platform: Platform;
}

export interface ImportedImage {
  readonly reference: ImageReference;
  readonly target: Descriptor;
}

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

/** The refusal of an image that has no name. */
export function unnamed(path: string): Failure {
  return new Failure(
    "invalid_argument",
    `cannot import ${JSON.stringify(path)}: nothing in it says what the image is called: give a name (--name)`,
  );
}

/** The refusal of several images where one name was given. */
export function severalImages(path: string, names: readonly string[]): Failure {
  return new Failure(
    "invalid_argument",
    `cannot import ${JSON.stringify(path)} under one name: it has ${names.length} images: ${names.join(", ")}`,
  );
}
