import type { Digest } from "../core/digest.ts";
import type { DistributionOptions } from "../core/distribution.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { ImageToVerify, ImageVerifier } from "../core/image_verifier.ts";
import type { ContentCheck } from "./check_content.ts";

/** What a verifier says of an image that is here. */
export interface Verdict {
  /** `unknown`: it could not judge. `unasked`: nobody wants such an image judged. */
  readonly state: "accepted" | "refused" | "unknown" | "unasked";
  readonly reason: string;
}

/** What was found of an image. */
export interface ImageCheck extends ContentCheck {
  readonly name: string;
  readonly digest: Digest;
  /** One of each verifier; none where there is no policy. */
  readonly verdicts: readonly Verdict[];
  /** Whether every blob that ought to be here is whole, and nobody refuses the image or could not judge it. */
  readonly ok: boolean;
}

/** What each verifier says of an image; what one cannot judge is told, and keeps the others from nothing. */
export async function verdictsOf(
  verifiers: readonly ImageVerifier[],
  image: ImageToVerify,
  options: DistributionOptions,
): Promise<readonly Verdict[]> {
  return await Promise.all(verifiers.map(async (verifier): Promise<Verdict> => {
    try {
      return { state: "accepted", reason: await verifier.verify(image, options) };
    } catch (error) {
      options.signal?.throwIfAborted();
      return { state: codeOf(error) === "permission_denied" ? "refused" : "unknown", reason: messageOf(error) };
    }
  }));
}

/** What was pushed to the registry inside comes from nobody who could have signed it elsewhere. */
export const ownVerdict: Verdict = {
  state: "unasked",
  reason: "what was pushed to the registry inside is not judged",
};
