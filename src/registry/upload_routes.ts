import { type Context, Hono } from "hono";
import type { Repository } from "../core/repository.ts";
import type { Digest } from "../core/digest.ts";
import { type RegistryEnv, repositoryOf } from "./access.ts";
import { errorResponse, refusal } from "./errors.ts";
import { parseBlobDigest, parseName } from "./names.ts";
import type { RegistryParts } from "./parts.ts";
import { parseChunkRange } from "./range.ts";
import type { Upload } from "./uploads.ts";

type UploadContext = Context<RegistryEnv, "/:name{.+}/blobs/uploads/:id">;

/** `/v2/<name>/blobs/uploads/…` */
export function uploadRoutes({ repositories, uploads }: RegistryParts) {
  const start = async (c: Context<RegistryEnv, "/:name{.+}/blobs/uploads">) => {
    const at = repositoryOf(c);
    const { mount, from, digest } = c.req.query();
    if (mount !== undefined) {
      const wanted = parseBlobDigest(mount);
      if (await repositories.mount(at, wanted, from === undefined ? undefined : parseName(from))) {
        return created(at, wanted);
      }
    }
    const wanted = digest === undefined ? undefined : parseBlobDigest(digest);
    const upload = await uploads.start(at);
    if (wanted === undefined) return progress(upload, 202);
    try {
      await uploads.append(upload, c.req.raw.body);
    } catch (error) {
      // Its sender does not know of it, and cannot go on with it.
      await uploads.cancel(upload);
      throw error;
    }
    await uploads.commit(upload, wanted);
    return created(at, wanted);
  };
  return new Hono<RegistryEnv>()
    .post("/:name{.+}/blobs/uploads", start)
    .post("/:name{.+}/blobs/uploads/", start)
    .get("/:name{.+}/blobs/uploads/:id", (c) => progress(uploads.get(repositoryOf(c), c.req.param("id")), 204))
    .patch("/:name{.+}/blobs/uploads/:id", async (c) => {
      const upload = uploads.get(repositoryOf(c), c.req.param("id"));
      return await append(c, upload) ?? progress(upload, 202);
    })
    .put("/:name{.+}/blobs/uploads/:id", async (c) => {
      const upload = uploads.get(repositoryOf(c), c.req.param("id"));
      const digest = parseBlobDigest(c.req.query("digest") ?? "");
      const refused = await append(c, upload);
      if (refused !== undefined) return refused;
      await uploads.commit(upload, digest);
      return created(upload.at, digest);
    })
    .delete("/:name{.+}/blobs/uploads/:id", async (c) => {
      await uploads.cancel(uploads.get(repositoryOf(c), c.req.param("id")));
      return c.body(null, 204);
    });

  /** Takes the body. @returns the answer where it does not follow what has come. */
  async function append(c: UploadContext, upload: Upload): Promise<Response | undefined> {
    const header = c.req.raw.headers.get("content-range");
    const range = header === null ? {} : parseChunkRange(header);
    if (range !== undefined && await uploads.append(upload, c.req.raw.body, range)) return undefined;
    const failed = errorResponse(
      refusal(
        "BLOB_UPLOAD_INVALID",
        `cannot take the chunk ${JSON.stringify(header?.slice(0, 140))}: the upload is at byte ${upload.offset}`,
        { status: 416 },
      ),
    );
    for (const [name, value] of progress(upload, 204).headers) failed.headers.set(name, value);
    return failed;
  }
}

/** How far an upload is. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-a-blob-in-chunks */
function progress({ at, id, offset }: Upload, status: 202 | 204): Response {
  const headers = {
    location: `/v2/${at.repository}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, offset - 1)}`,
    "docker-upload-uuid": id,
  };
  return new Response(null, { status, headers });
}

function created({ repository }: Repository, digest: Digest): Response {
  const headers = { location: `/v2/${repository}/blobs/${digest}`, "docker-content-digest": digest };
  return new Response(null, { status: 201, headers });
}
