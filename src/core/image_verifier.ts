import type { Descriptor } from "./descriptor.ts";
import type { DistributionOptions } from "./distribution.ts";
import type { ImageReference } from "./reference.ts";

/** What is asked of a verifier: an image as its registry resolved it, of which nothing has been fetched yet. */
export interface ImageToVerify {
  readonly namespace: string;
  readonly reference: ImageReference;
  /** What the name points at now: an index or a manifest. Nothing else is pulled when all verifiers have accepted it. */
  readonly target: Descriptor;
}

/** Judges images: before they are pulled, and where somebody asks about one that is here. */
export interface ImageVerifier {
  /**
   * Returns where the image may be pulled.
   * @returns why, in a few words.
   * @throws permission_denied, saying what was found, what was wanted and the cure; what kept it from judging.
   */
  verify(image: ImageToVerify, options: DistributionOptions): Promise<string>;
}
