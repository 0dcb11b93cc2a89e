import { Hono } from "hono";
import { type RegistryEnv, repositoryOf } from "./access.ts";
import { refusal } from "./errors.ts";
import { parseBlobDigest } from "./names.ts";
import type { RegistryParts } from "./parts.ts";
import { parseRange } from "./range.ts";

/** `/v2/<name>/blobs/<digest>` */
export function blobRoutes({ content, repositories }: RegistryParts) {
  return new Hono<RegistryEnv>()
    .get("/:name{.+}/blobs/:digest", async (c) => {
      const { digest, size } = await repositories.blob(repositoryOf(c), parseBlobDigest(c.req.param("digest")));
      const headers = {
        "accept-ranges": "bytes",
        "content-type": "application/octet-stream",
        "docker-content-digest": digest,
        etag: `"${digest}"`,
      };
      const range = parseRange(c.req.raw.headers.get("range"), size);
      if (range === "unsatisfiable") {
        throw refusal("SIZE_INVALID", `cannot read blob ${digest}: its ${size} bytes have no such range`, {
          status: 416,
        });
      }
      const { offset, length } = range ?? { offset: 0, length: size };
      // Nobody would read, and thereby close, the file.
      const body = c.req.raw.method === "HEAD" ? null : await content.read(digest, { offset, length });
      return new Response(body, {
        status: range === undefined ? 200 : 206,
        headers: {
          ...headers,
          "content-length": String(length),
          ...(range === undefined ? {} : { "content-range": `bytes ${offset}-${offset + length - 1}/${size}` }),
        },
      });
    })
    .delete("/:name{.+}/blobs/:digest", async (c) => {
      await repositories.deleteBlob(repositoryOf(c), parseBlobDigest(c.req.param("digest")));
      return c.body(null, 202);
    });
}
