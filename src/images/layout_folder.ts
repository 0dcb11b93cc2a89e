import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { Layout } from "./layout.ts";

/** An OCI layout in a folder. */
export class FolderLayout implements Layout {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async size(path: string): Promise<number | undefined> {
    const file = await this.#open(path);
    if (file === undefined) return undefined;
    try {
      const status = await file.stat();
      return status.isFile() ? status.size : undefined;
    } finally {
      await file.close();
    }
  }

  async *read(path: string): AsyncGenerator<Uint8Array> {
    const file = await this.#open(path);
    if (file === undefined) return;
    try {
      if ((await file.stat()).isFile()) yield* file.createReadStream({ autoClose: false, highWaterMark: 256 << 10 });
    } finally {
      await file.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Links are not followed, and a fifo does not make the reader wait. */
  async #open(path: string): Promise<FileHandle | undefined> {
    try {
      return await open(join(this.#folder, path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return undefined;
      throw error;
    }
  }
}
