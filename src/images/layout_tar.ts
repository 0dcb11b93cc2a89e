import { type FileHandle, open } from "node:fs/promises";
import { posix } from "node:path";
import { Failure } from "../core/errors.ts";
import { type ByteString, toText } from "../linux/byte_string.ts";
import type { Layout } from "./layout.ts";
import { TarReader } from "./tar_reader.ts";

const chunkBytes = 256 << 10;
/** An archive of images has a few files for each layer. */
const maxEntries = 100_000;
const maxLinks = 8;

interface Member {
  readonly offset: number;
  readonly size: number;
}

/** A tar archive that is read where it lies: nothing of it is unpacked, so its names reach nothing on this machine. */
export class TarLayout implements Layout {
  readonly #file: FileHandle;
  readonly #members = new Map<string, Member>();
  readonly #links = new Map<string, string>();

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Reads the headers of a whole archive. @throws invalid_argument for what is no tar; data_loss when it is cut short. */
  static async open(path: string): Promise<TarLayout> {
    const file = await open(path, "r");
    const layout = new TarLayout(file);
    try {
      await layout.#scan(path);
      return layout;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async size(path: string): Promise<number | undefined> {
    return this.#find(path)?.size;
  }

  async *read(path: string): AsyncGenerator<Uint8Array> {
    const member = this.#find(path);
    if (member !== undefined) yield* this.#bytes(member.offset, member.offset + member.size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #scan(path: string): Promise<void> {
    const reader = new TarReader();
    const { size } = await this.#file.stat();
    let first = true;
    for await (const chunk of this.#bytes(0, size)) {
      if (first) checkForm(path, chunk);
      first = false;
      reader.feed(chunk);
      for (let event = reader.next(); event !== undefined; event = reader.next()) {
        if (event.kind !== "entry") continue;
        const { type, path, link, size, sparse = false } = event.entry;
        if (sparse) throw new Failure("unimplemented", "cannot read an archive of images that has sparse files");
        const name = normal(path);
        if (type === "file") this.#members.set(name, { offset: event.offset, size });
        if (type === "hardlink") this.#links.set(name, normal(link));
        if (type === "symlink") this.#links.set(name, posix.join(posix.dirname(name), toText(link)));
        if (this.#members.size + this.#links.size > maxEntries) {
          throw new Failure("resource_exhausted", `cannot read ${JSON.stringify(path)}: over ${maxEntries} files`);
        }
      }
    }
    reader.end();
  }

  /** Old archives link to a layer that they have already. */
  #find(path: string): Member | undefined {
    let name = posix.normalize(path);
    for (let i = 0; i < maxLinks; i++) {
      const member = this.#members.get(name);
      if (member !== undefined) return member;
      const target = this.#links.get(name);
      if (target === undefined) return undefined;
      name = target;
    }
    return undefined;
  }

  async *#bytes(start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let at = start; at < end;) {
      // A buffer of its own each time: who reads may keep it.
      const buffer = new Uint8Array(Math.min(chunkBytes, end - at));
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Failure("data_loss", "cannot read the archive: it became shorter");
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
}

function normal(path: ByteString): string {
  return posix.normalize(toText(path)).replace(/^\/+/, "");
}

function checkForm(path: string, [a, b, c, d]: Uint8Array): void {
  const form = a === 0x1f && b === 0x8b
    ? "gzip -d"
    : a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd
    ? "zstd -d"
    : undefined;
  if (form === undefined) return;
  throw new Failure("invalid_argument", `cannot import ${JSON.stringify(path)}: it is compressed: ${form} it first`);
}
