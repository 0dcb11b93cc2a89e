import type { Features } from "../core/features.ts";
import { ociVersion } from "./document.ts";

/** What the runtime can do, as its command says it. */
export function featuresDocument(features: Features, version: string): Features {
  return {
    ociVersionMin: "1.0.0",
    ociVersionMax: ociVersion,
    ...features,
    annotations: { "mayfly.version": version },
  };
}
