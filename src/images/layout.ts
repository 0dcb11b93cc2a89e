import { stat } from "node:fs/promises";
import { type Digest, splitDigest } from "../core/digest.ts";
import { Failure, messageOf } from "../core/errors.ts";
import { FolderLayout } from "./layout_folder.ts";
import { TarLayout } from "./layout_tar.ts";

/** The files of an image on disk, in a folder or an archive. */
export interface Layout extends AsyncDisposable {
  /** @returns undefined where there is no such file. */
  size(path: string): Promise<number | undefined>;
  /** Streams a file; nothing where there is none. */
  read(path: string): AsyncIterable<Uint8Array>;
}

/** Opens a folder or a tar archive. @throws not_found; invalid_argument for what is neither. */
export async function openLayout(path: string): Promise<Layout> {
  const status = await stat(path).catch((error: unknown) => {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw new Failure(
      missing ? "not_found" : "invalid_argument",
      `cannot import ${JSON.stringify(path)}: ${missing ? "there is no such file or folder" : messageOf(error)}`,
      { cause: error },
    );
  });
  if (status.isDirectory()) return new FolderLayout(path);
  if (status.isFile()) return await TarLayout.open(path);
  throw new Failure("invalid_argument", `cannot import ${JSON.stringify(path)}: it is neither a file nor a folder`);
}

/** Where a blob is. @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md#blobs */
export function blobPath(digest: Digest): string {
  const { algorithm, hex } = splitDigest(digest);
  return `blobs/${algorithm}/${hex}`;
}

/** Reads a whole small file. @throws resource_exhausted over the limit. @returns undefined where there is none. */
export async function readSmall(
  layout: Layout,
  path: string,
  limitBytes: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const size = await layout.size(path);
  if (size === undefined) return undefined;
  if (size > limitBytes) {
    throw new Failure(
      "resource_exhausted",
      `cannot read ${JSON.stringify(path)}: it has ${size} bytes, the limit is ${limitBytes}`,
    );
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for await (const chunk of layout.read(path)) {
    if (at + chunk.length > size) break;
    bytes.set(chunk, at);
    at += chunk.length;
  }
  if (at === size) return bytes;
  throw new Failure("data_loss", `cannot read ${JSON.stringify(path)}: it changed while it was read`);
}
