import { Hono } from "hono";
import { mediaTypes } from "../core/descriptor.ts";
import { type RegistryEnv, repositoryOf } from "./access.ts";
import { pageSize } from "./limits.ts";
import { parseBlobDigest } from "./names.ts";
import type { RegistryParts } from "./parts.ts";

/**
 * `/v2/<name>/referrers/<digest>`
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#listing-referrers
 */
export function referrerRoutes({ repositories }: RegistryParts) {
  return new Hono<RegistryEnv>()
    .get("/:name{.+}/referrers/:digest", async (c) => {
      const at = repositoryOf(c);
      const subject = parseBlobDigest(c.req.param("digest"));
      const { artifactType: wanted, last } = c.req.query();
      const all = await repositories.referrers(at, subject, last === undefined ? undefined : parseBlobDigest(last));
      const manifests = all.filter(({ artifactType }) => wanted === undefined || artifactType === wanted)
        .map(({ mediaType, digest, size, artifactType, annotations }) => {
          return { mediaType, digest, size, artifactType, annotations };
        });
      const end = all.at(-1);
      if (end !== undefined && all.length === pageSize) {
        const more = new URLSearchParams({
          last: end.digest,
          ...(wanted === undefined ? {} : { artifactType: wanted }),
        });
        c.header("link", `</v2/${at.repository}/referrers/${subject}?${more}>; rel="next"`);
      }
      if (wanted !== undefined) c.header("oci-filters-applied", "artifactType");
      return c.body(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }), 200, {
        "content-type": mediaTypes.index,
      });
    });
}
