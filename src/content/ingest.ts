import { createHash, type Hash } from "node:crypto";
import { access, type FileHandle, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ContentInfo, ExpectedContent, Ingest } from "../core/content.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import { diskFailure } from "./disk_failure.ts";

/** Chunks are gathered up to this size: one write and one hash call per MiB, however small the network's packets are. */
const bufferBytes = 1024 * 1024;

/** After so many bytes the disk is given what has come, so that it writes while the network brings the rest. */
const writeBackBytes = 16 * 1024 * 1024;

/** What is known to be no larger is in memory until it is whole: whoever is disturbed before loses little. */
const smallBytes = 2 * 1024 * 1024;

/** Where a verified ingest goes. */
export interface Publisher {
  /** The blob's file. */
  path(digest: Digest): string;
  /** The blob, where it is there already and has this size. */
  find(digest: Digest, size: number): Promise<ContentInfo | undefined>;
  /** Writes a file's data to disk, where it is some ingest's turn to. */
  writeBack(file: FileHandle): Promise<void> | undefined;
  /** Makes the blob's name durable. */
  sync(digest: Digest): Promise<void>;
}

export interface IngestOptions {
  readonly ref: string;
  /** The ingest's folder. */
  readonly folder: string;
  /** Makes the folder, where it is not there. */
  readonly begin: () => Promise<void>;
  readonly expected: ExpectedContent;
  /** The largest blob that is accepted. */
  readonly limitBytes: number;
  readonly publisher: Publisher;
  /** Called once, when the ref is free again. */
  readonly release: () => void;
}

/**
 * An ingest in a folder: its bytes are in `data`, and are hashed as they are written. A small blob has no folder, unless it is
 * left unfinished: it is one file from the start, beside the folders.
 */
export class LocalIngest implements Ingest {
  readonly ref: string;
  readonly #options: IngestOptions;
  /** Undefined while all is in memory. */
  #file: FileHandle | undefined;
  /** What the file is called. */
  #path: string;
  #algorithm: "sha256" | "sha512";
  #hash: Hash;
  #offset: number;
  #buffer: Uint8Array | undefined;
  #filled = 0;
  #flushing: Promise<void> | undefined;
  /** Bytes since the last write-back. */
  #dirty = 0;
  #writingBack: Promise<unknown> | undefined;
  /** What a write-back failed with. */
  #lost: unknown;
  #state: "open" | "broken" | "closed" = "open";

  private constructor(options: IngestOptions, file: FileHandle | undefined, hash: Hash, offset: number) {
    this.ref = options.ref;
    this.#options = options;
    this.#file = file;
    this.#path = join(options.folder, "data");
    this.#algorithm = algorithmOf(options.expected);
    this.#hash = hash;
    this.#offset = offset;
  }

  /** Opens the ingest at the byte that it reached before, and hashes what is there. */
  static async open(options: IngestOptions): Promise<LocalIngest> {
    const hash = createHash(algorithmOf(options.expected));
    if (await isNewAndSmall(options)) return new LocalIngest(options, undefined, hash, 0);
    await options.begin();
    const file = await open(join(options.folder, "data"), "a+", 0o600);
    try {
      const { size } = await file.stat();
      const most = Math.min(options.expected.size ?? Infinity, options.limitBytes);
      if (size > most) await file.truncate(0);
      const offset = size > most ? 0 : await hashFile(file, hash, size);
      return new LocalIngest(options, file, hash, offset);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get offset(): number {
    return this.#offset;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#use();
    const { expected, limitBytes } = this.#options;
    const most = Math.min(expected.size ?? Infinity, limitBytes);
    if (this.#offset + chunk.length > most) {
      throw new Failure(
        "resource_exhausted",
        `cannot write ingest ${JSON.stringify(this.ref)}: it has more than ${
          most === expected.size ? `the ${most} bytes that were expected` : `${most} bytes, the limit of a blob`
        }`,
        { details: { limitBytes: most } },
      );
    }
    this.#offset += chunk.length;
    this.#buffer ??= new Uint8Array(
      Math.min(isSmall(expected) ? smallBytes : bufferBytes, expected.size ?? bufferBytes),
    );
    const inMemory = isSmall(expected) && this.#file === undefined;
    for (let rest = chunk; rest.length > 0;) {
      const part = rest.subarray(0, this.#buffer.length - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      rest = rest.subarray(part.length);
      if (this.#filled === this.#buffer.length && !inMemory) await this.#flush();
    }
  }

  async truncate(): Promise<void> {
    this.#use();
    await this.#disk("truncate", async () => await this.#file?.truncate(0));
    this.#hash = createHash(this.#algorithm);
    this.#offset = 0;
    this.#filled = 0;
  }

  async commit(known: ExpectedContent = {}, { hold }: Parameters<Ingest["commit"]>[1] = {}): Promise<ContentInfo> {
    this.#use();
    const { folder, publisher } = this.#options;
    const expected = { ...this.#options.expected, ...known };
    try {
      const path = this.#file === undefined ? `${folder}.new` : this.#path;
      const file = await this.#disk("write", () => this.#opened(path));
      await this.#flush();
      if (expected.digest !== undefined && algorithmOf(expected) !== this.#algorithm) {
        await this.#hashAgain(file, algorithmOf(expected));
      }
      const digest: Digest = `${this.#algorithm}:${this.#hash.digest("hex")}`;
      await this.#verify(digest, expected);
      await hold?.(digest);
      const there = await publisher.find(digest, this.#offset);
      if (there === undefined) {
        await file.datasync().catch((error) => this.#lost = error);
        await this.#requireWritten();
        await this.#disk("commit", async () => {
          await rename(this.#path, publisher.path(digest));
          await publisher.sync(digest);
        });
      }
      if (this.#hasFolder || there !== undefined) await this.#disk("remove", () => this.#remove());
      return there ?? { digest, size: this.#offset, createdAt: new Date() };
    } catch (error) {
      // Nobody goes on with what has no folder.
      if (!this.#hasFolder) await this.#remove().catch(() => {});
      throw error;
    } finally {
      await this.#close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === "closed") return;
    try {
      await this.#flushing;
      if (this.#state === "open") await this.#flush();
      await this.#requireWritten();
    } catch {
      // What cannot be kept is written again by who resumes; the error that led here must not be hidden.
    } finally {
      await this.#close();
    }
  }

  async #verify(digest: Digest, expected: ExpectedContent): Promise<void> {
    const wrong = expected.size !== undefined && expected.size !== this.#offset
      ? `it has ${this.#offset} bytes, expected were ${expected.size}`
      : expected.digest !== undefined && expected.digest !== digest
      ? `its digest is ${digest}, expected was ${expected.digest}`
      : undefined;
    if (wrong === undefined) return;
    await this.#remove();
    throw new Failure("failed_precondition", `cannot commit ingest ${JSON.stringify(this.ref)}: ${wrong}`, {
      details: { digest, size: this.#offset },
    });
  }

  /** Another algorithm was meant than the one that the ingest began with. */
  async #hashAgain(file: FileHandle, algorithm: "sha256" | "sha512"): Promise<void> {
    this.#algorithm = algorithm;
    this.#hash = createHash(algorithm);
    await this.#disk("read", () => hashFile(file, this.#hash, this.#offset));
  }

  /** Writes and hashes what was gathered, both at once: the write runs in another thread. */
  async #flush(): Promise<void> {
    if (this.#buffer === undefined || this.#filled === 0) return;
    const bytes = this.#buffer.subarray(0, this.#filled);
    this.#filled = 0;
    this.#flushing = this.#disk("write", async () => {
      const file = await this.#opened(this.#path);
      for (let done = 0; done < bytes.length;) {
        done += (await file.write(bytes, done, bytes.length - done)).bytesWritten;
      }
      this.#writeBack(file, bytes.length);
    });
    this.#hash.update(bytes);
    try {
      await this.#flushing;
    } catch (error) {
      // Hash and file differ from here on: nothing of this writer may be published.
      this.#state = "broken";
      throw error;
    } finally {
      this.#flushing = undefined;
    }
  }

  /** Has the disk begin with what has come. */
  #writeBack(file: FileHandle, bytes: number): void {
    this.#dirty += bytes;
    if (this.#dirty < writeBackBytes || this.#writingBack !== undefined) return;
    const begun = this.#options.publisher.writeBack(file);
    if (begun === undefined) return;
    this.#dirty = 0;
    // The kernel tells of what it could not write once.
    this.#writingBack = begun.catch((error) => this.#lost = error).finally(() => this.#writingBack = undefined);
  }

  /** @throws where the disk has lost something. Nobody may go on with it then: what is in memory still looks whole. */
  async #requireWritten(): Promise<void> {
    await this.#writingBack;
    if (this.#lost === undefined) return;
    await this.#remove();
    throw diskFailure(`cannot write ingest ${JSON.stringify(this.ref)}`, this.#lost);
  }

  /** The file; a small blob's is made under this name. */
  async #opened(path: string): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file;
    this.#path = path;
    if (this.#hasFolder) await this.#options.begin();
    return this.#file = await open(path, this.#hasFolder ? "a+" : "w+", 0o600);
  }

  get #hasFolder(): boolean {
    return this.#path === join(this.#options.folder, "data");
  }

  /** Removes all that is left of it. */
  #remove(): Promise<void> {
    return rm(this.#hasFolder ? this.#options.folder : this.#path, { recursive: true, force: true });
  }

  async #disk<T>(act: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw diskFailure(`cannot ${act} ingest ${JSON.stringify(this.ref)}`, error);
    }
  }

  #use(): void {
    const why = this.#state === "closed"
      ? "it is closed"
      : this.#state === "broken"
      ? "an earlier write failed: open it again to go on"
      : this.#flushing !== undefined
      ? "an earlier write is not finished: await it"
      : undefined;
    if (why === undefined) return;
    throw new Failure("failed_precondition", `cannot use ingest ${JSON.stringify(this.ref)}: ${why}`);
  }

  async #close(): Promise<void> {
    this.#state = "closed";
    this.#buffer = undefined;
    try {
      await this.#writingBack;
      await this.#file?.close();
    } finally {
      this.#options.release();
    }
  }
}

/** Whether a blob has no folder, and needs none. */
async function isNewAndSmall({ folder, expected }: IngestOptions): Promise<boolean> {
  if (!isSmall(expected)) return false;
  return await access(folder).then(() => false, () => true);
}

/** Whoever knows both can begin anew. */
function isSmall({ digest, size = Infinity }: ExpectedContent): boolean {
  return digest !== undefined && size <= smallBytes;
}

/** Hashes the first bytes of a file. @returns how many there were. */
async function hashFile(file: FileHandle, hash: Hash, size: number): Promise<number> {
  const buffer = new Uint8Array(Math.min(bufferBytes, size));
  let offset = 0;
  while (offset < size) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - offset), offset);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    offset += bytesRead;
  }
  return offset;
}

function algorithmOf(expected: ExpectedContent): "sha256" | "sha512" {
  return expected.digest === undefined ? "sha256" : splitDigest(expected.digest).algorithm;
}

/** Writes what identifies an ingest, beside its data. */
export async function describeIngest(folder: string, ref: string, expected: ExpectedContent): Promise<void> {
  const write = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o600 });
  await write("startedat", new Date().toISOString());
  if (expected.size !== undefined) await write("total", String(expected.size));
  // Last: an ingest without a ref is the rest of a crash, and nobody's.
  await write("ref", ref);
}
