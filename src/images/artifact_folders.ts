import { mkdirSync, rmSync } from "node:fs";
import { chmod, copyFile, link, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ContentStore } from "../core/content.ts";
import type { Digest } from "../core/digest.ts";
import { filePartOf } from "../core/file_part.ts";
import type { ArtifactFile } from "./artifact.ts";
import { type OpenFolder, SharedFolders } from "./shared_folders.ts";

/** Artifacts as folders of files: each once for all who want it, and without a copy where the blobs are files themselves. */
export class ArtifactFolders {
  readonly #content: ContentStore;
  readonly #folder: string;
  readonly #open = new SharedFolders();

  /** @param folder one of this object's own. */
  constructor(content: ContentStore, folder: string) {
    this.#content = content;
    this.#folder = folder;
  }

  /** Removes what an earlier process left. */
  recover(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /**
   * Shows the files of an artifact, or shares them with who has done so. All users may read them.
   * @param manifest of the artifact, by which its folder is known. @throws not_found for a blob that is not here.
   */
  async open(manifest: Digest, files: readonly ArtifactFile[]): Promise<OpenFolder> {
    return await this.#open.open(manifest, () => this.#make(files));
  }

  async #make(files: readonly ArtifactFile[]): Promise<string> {
    const folder = join(this.#folder, crypto.randomUUID());
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    try {
      for (const path of ["", ...foldersOf(files)]) {
        await mkdir(join(folder, path));
        // Whatever the process's umask.
        await chmod(join(folder, path), 0o755);
      }
      for (const { title, blob } of files) await this.#put(blob.digest, join(folder, title));
      return folder;
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** A blob's file under one more name, or a copy: it stays, whatever becomes of the blob. */
  async #put(digest: Digest, path: string): Promise<void> {
    const stream = await this.#content.read(digest);
    const file = filePartOf(stream);
    if (file === undefined) {
      await writeFile(path, stream, { mode: 0o444 });
    } else {
      await stream.cancel();
      await link(file.path, path).catch(async (error: { readonly code?: unknown }) => {
        if (!unlinkable.has(error.code)) throw error;
        await copyFile(file.path, path);
      });
    }
    await chmod(path, 0o444);
  }
}

/** What `link` says on two disks, for a file of very many names, and where a filesystem knows only one of each. */
const unlinkable: ReadonlySet<unknown> = new Set(["EXDEV", "EMLINK", "EPERM"]);

/** The folders that files are in, outer ones first. */
function foldersOf(files: readonly ArtifactFile[]): readonly string[] {
  const folders = files.flatMap(({ title }) => {
    const parts = title.split("/");
    return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join("/"));
  });
  return [...new Set(folders)].sort();
}
