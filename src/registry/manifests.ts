import { createHash } from "node:crypto";
import { Hono } from "hono";
import { type Digest, splitDigest } from "../core/digest.ts";
import { documentBytes } from "../images/read_manifest.ts";
import { type RegistryEnv, repositoryOf } from "./access.ts";
import { smallBody } from "./body.ts";
import { refusal } from "./errors.ts";
import { parseManifestReference, parseTag } from "./names.ts";
import type { RegistryParts } from "./parts.ts";

/** Tags that one request may make. */
const maxTags = 10;

/** `/v2/<name>/manifests/<reference>` */
export function manifestRoutes({ content, repositories, limits }: RegistryParts) {
  return new Hono<RegistryEnv>()
    .get("/:name{.+}/manifests/:reference", async (c) => {
      const manifest = await repositories.manifest(repositoryOf(c), parseManifestReference(c.req.param("reference")));
      const { digest, mediaType, size } = manifest;
      const body = c.req.raw.method === "HEAD" ? null : await content.bytes(digest, documentBytes);
      return new Response(body, {
        headers: {
          "content-type": mediaType,
          "content-length": String(size),
          "docker-content-digest": digest,
          etag: `"${digest}"`,
        },
      });
    })
    .put("/:name{.+}/manifests/:reference", async (c) => {
      const at = repositoryOf(c);
      const reference = parseManifestReference(c.req.param("reference"));
      // One that is pushed by its digest may get tags by the way, which the next version of the specification has.
      const more = (c.req.queries("tag") ?? []).slice(0, maxTags).map(parseTag);
      const tags = "tag" in reference ? [reference.tag] : more;
      const bytes = await smallBody(c.req.raw.body, {
        timeoutMs: limits.bodyTimeoutMs,
        code: "MANIFEST_INVALID",
        limitBytes: documentBytes,
      });
      const wanted = "digest" in reference ? reference.digest : undefined;
      const digest = hash(bytes, wanted);
      if (wanted !== undefined && digest !== wanted) {
        throw refusal("DIGEST_INVALID", `cannot take manifest ${wanted}: what came has the digest ${digest}`, {
          about: [{ digest: wanted }],
        });
      }
      const mediaType = (c.req.raw.headers.get("content-type") ?? "").split(";", 1)[0]?.trim() ?? "";
      const { subject } = await repositories.push(at, bytes, { digest, mediaType, tags });
      return new Response(null, {
        status: 201,
        headers: {
          location: `/v2/${at.repository}/manifests/${digest}`,
          "docker-content-digest": digest,
          ...(subject === undefined ? {} : { "oci-subject": subject }),
          ...(more.length === 0 ? {} : { "oci-tag": tags.join(", ") }),
        },
      });
    })
    .delete("/:name{.+}/manifests/:reference", async (c) => {
      await repositories.deleteManifest(repositoryOf(c), parseManifestReference(c.req.param("reference")));
      return c.body(null, 202);
    });
}

function hash(bytes: Uint8Array, like: Digest | undefined): Digest {
  const { algorithm } = splitDigest(like ?? "sha256:");
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}
