import { mkdir, open, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { Header } from "tar";
import { codeOf, Failure } from "../core/errors.ts";

/** Where an image is written: files with names, each once. */
export interface LayoutWriter {
  add(path: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** Completes it. */
  finish(): Promise<void>;
  /** Removes what was written. */
  abort(): Promise<void>;
}

/** Opens a folder, or a tar archive where the path ends in `.tar`. @throws already_exists. */
export async function createLayout(path: string): Promise<LayoutWriter> {
  return path.endsWith(".tar") ? await TarWriter.create(path) : await FolderWriter.create(path);
}

class FolderWriter implements LayoutWriter {
  readonly #folder: string;
  readonly #made: boolean;

  private constructor(folder: string, made: boolean) {
    this.#folder = folder;
    this.#made = made;
  }

  static async create(folder: string): Promise<FolderWriter> {
    const made = await mkdir(folder, { recursive: true });
    if (made === undefined && (await readdir(folder)).length > 0) {
      throw new Failure("already_exists", `cannot export to ${JSON.stringify(folder)}: the folder is not empty`);
    }
    return new FolderWriter(folder, made !== undefined);
  }

  async add(path: string, _size: number, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const target = join(this.#folder, path);
    await mkdir(dirname(target), { recursive: true });
    await using file = await open(target, "wx", 0o644);
    for await (const chunk of bytes) await file.writeFile(chunk);
  }

  async finish(): Promise<void> {}

  async abort(): Promise<void> {
    if (this.#made) return await rm(this.#folder, { recursive: true, force: true });
    for (const name of await readdir(this.#folder)) {
      await rm(join(this.#folder, name), { recursive: true, force: true });
    }
  }
}

class TarWriter implements LayoutWriter {
  readonly #path: string;
  readonly #stream: WriteStream;

  private constructor(path: string, stream: WriteStream) {
    this.#path = path;
    this.#stream = stream;
  }

  static async create(path: string): Promise<TarWriter> {
    const stream = createWriteStream(path, { flags: "wx", mode: 0o644 });
    try {
      await once(stream, "open");
    } catch (error) {
      const there = error instanceof Error && "code" in error && error.code === "EEXIST";
      throw new Failure(
        there ? "already_exists" : codeOf(error),
        `cannot export to ${JSON.stringify(path)}: ${there ? "the file exists" : String(error)}`,
        { cause: error },
      );
    }
    return new TarWriter(path, stream);
  }

  async add(path: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const block = Buffer.alloc(512);
    // The same content gives the same archive: no times, no owners.
    new Header({ path, size, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0), type: "File" }).encode(block);
    await this.#write(block);
    for await (const chunk of bytes) await this.#write(chunk);
    await this.#write(new Uint8Array(-size & 511));
  }

  async finish(): Promise<void> {
    await this.#write(new Uint8Array(1024));
    this.#stream.end();
    await once(this.#stream, "close");
  }

  async abort(): Promise<void> {
    this.#stream.destroy();
    await rm(this.#path, { force: true });
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (bytes.length > 0 && !this.#stream.write(bytes)) await once(this.#stream, "drain");
  }
}
