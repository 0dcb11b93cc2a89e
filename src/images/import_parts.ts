import type { ContentStore } from "../core/content.ts";
import type { Descriptor, Platform } from "../core/descriptor.ts";
import { Failure } from "../core/errors.ts";
import type { ImageReference } from "../core/reference.ts";
import type { Hold } from "./hold.ts";

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
