import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rm, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { ContentInfo, ContentStore, ExpectedContent, Ingest, IngestInfo } from "../core/content.ts";
import { type Digest, isDigest, parseDigest, splitDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import { asFilePart } from "../core/file_part.ts";
import { blobStream } from "./blob_stream.ts";
import { diskFailure, errnoOf } from "./disk_failure.ts";
import { FolderSync, syncFolder } from "./folder_sync.ts";
import { describeIngest, LocalIngest, type Publisher } from "./ingest.ts";

const algorithms = ["sha256", "sha512"] as const;
const maxRefLength = 1024;

export interface LocalContentOptions {
  /** The largest blob that is accepted. Default 64 GiB. */
  readonly limitBytes?: number;
  /** Lists the names in a folder, some at a time. Default: all at once. */
  readonly namesIn?: (folder: string) => AsyncIterable<readonly string[]>;
}

/** So many files are looked at at once. */
const lookups = 32;

/**
 * The content store on a local disk.
 *
 * ```text
 * blobs/<algorithm>/<hex>   one file per blob, complete and verified
 * ingest/<id>/              one folder per ingest: data, ref, startedat, total; the id is a hash of the ref
 * ingest/<id>.new           a small blob, between its last byte and its commit
 * ```
 *
 * One process uses a folder at a time: who holds a ref is known in memory only.
 */
export class LocalContent implements ContentStore {
  readonly #folder: string;
  readonly #limitBytes: number;
  readonly #namesIn: (folder: string) => AsyncIterable<readonly string[]>;
  readonly #held = new Set<string>();
  #writingBack = false;
  readonly #syncs: Readonly<Record<(typeof algorithms)[number], FolderSync>>;

  private constructor(folder: string, options: LocalContentOptions) {
    this.#folder = folder;
    this.#limitBytes = options.limitBytes ?? 64 * 2 ** 30;
    this.#namesIn = options.namesIn ?? allNames;
    const sync = (algorithm: string) => new FolderSync(join(folder, "blobs", algorithm));
    this.#syncs = { sha256: sync("sha256"), sha512: sync("sha512") };
  }

  /** Opens the store in a folder, which is made where it is missing. @throws the disk's own errors. */
  static async open(folder: string, options: LocalContentOptions = {}): Promise<LocalContent> {
    try {
      for (const path of [...algorithms.map((algorithm) => join(folder, "blobs", algorithm)), join(folder, "ingest")]) {
        await mkdir(path, { recursive: true, mode: 0o700 });
      }
      await removeUseless(join(folder, "ingest"));
      await syncFolder(join(folder, "blobs"));
      await syncFolder(folder);
    } catch (error) {
      throw diskFailure(`cannot open the content store ${JSON.stringify(folder)}`, error);
    }
    return new LocalContent(folder, options);
  }

  async info(digest: Digest): Promise<ContentInfo> {
    const found = await this.#find(digest);
    if (found !== undefined) return found;
    throw missing(digest);
  }

  async read(
    digest: Digest,
    range: { readonly offset?: number; readonly length?: number } = {},
  ): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const file = await this.#blob(digest, "read", () => open(this.#path(digest), "r"));
    try {
      const { size } = await file.stat();
      const { offset = 0, length = size - offset } = range;
      if (!(offset >= 0 && offset <= size && length >= 0)) {
        throw new Failure(
          "invalid_argument",
          `cannot read blob ${digest}: offset ${offset} and length ${length} are not within its ${size} bytes`,
        );
      }
      const end = Math.min(offset + length, size);
      return asFilePart(blobStream(file, digest, offset, end), { path: this.#path(digest), start: offset, end });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async bytes(digest: Digest, limitBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const { size } = await this.info(digest);
    if (size > limitBytes) {
      throw new Failure(
        "resource_exhausted",
        `cannot read blob ${digest}: it has ${size} bytes, the limit is ${limitBytes}`,
      );
    }
    const bytes = new Uint8Array(await this.#blob(digest, "read", () => readFile(this.#path(digest))));
    const { algorithm, hex } = splitDigest(digest);
    if (createHash(algorithm).update(bytes).digest("hex") === hex) return bytes;
    throw new Failure(
      "data_loss",
      `cannot read blob ${digest}: its bytes on disk do not match its digest: remove the image and pull it again`,
    );
  }

  async writer(ref: string, expected: ExpectedContent = {}): Promise<Ingest> {
    const quoted = JSON.stringify(ref.slice(0, 200));
    if (ref === "" || ref.length > maxRefLength) {
      throw new Failure("invalid_argument", `cannot open ingest ${quoted}: a ref has 1 to ${maxRefLength} characters`);
    }
    if (expected.size !== undefined && expected.size > this.#limitBytes) {
      throw new Failure(
        "resource_exhausted",
        `cannot open ingest ${quoted}: ${expected.size} bytes are more than a blob may have, ${this.#limitBytes}`,
      );
    }
    if (this.#held.has(ref)) {
      throw new Failure("unavailable", `cannot open ingest ${quoted}: another writer has it`);
    }
    this.#held.add(ref);
    const release = () => void this.#held.delete(ref);
    try {
      const folder = this.#ingestFolder(ref);
      if (expected.digest !== undefined && await this.#find(expected.digest, expected.size) !== undefined) {
        await rm(folder, { recursive: true, force: true });
        throw new Failure(
          "already_exists",
          `cannot open ingest ${quoted}: the blob ${expected.digest} is in the store`,
        );
      }
      const begin = async () => {
        if (await mkdir(folder, { recursive: true, mode: 0o700 }) !== undefined || !await hasRef(folder, ref)) {
          await describeIngest(folder, ref, expected);
        }
      };
      const { limitBytes, publisher } = { limitBytes: this.#limitBytes, publisher: this.#publisher };
      return await LocalIngest.open({ ref, folder, begin, expected, limitBytes, publisher, release });
    } catch (error) {
      release();
      throw diskFailure(`cannot open ingest ${quoted}`, error);
    }
  }

  async *list(wanted: (digest: Digest) => boolean = () => true): AsyncGenerator<ContentInfo> {
    for (const algorithm of algorithms) {
      for await (const names of this.#namesIn(join(this.#folder, "blobs", algorithm))) {
        const digests = names.map((name) => `${algorithm}:${name}`).filter(isDigest).filter(wanted);
        for (let at = 0; at < digests.length; at += lookups) {
          const infos = await Promise.all(digests.slice(at, at + lookups).map((digest) => this.#find(digest)));
          for (const info of infos) if (info !== undefined) yield info;
        }
      }
    }
  }

  async ingests(): Promise<readonly IngestInfo[]> {
    const found: IngestInfo[] = [];
    for (const id of await readdir(join(this.#folder, "ingest"))) {
      const folder = join(this.#folder, "ingest", id);
      const [ref, startedAt, data] = await Promise.all([
        readFile(join(folder, "ref"), "utf8").catch(() => undefined),
        readFile(join(folder, "startedat"), "utf8").catch(() => undefined),
        stat(join(folder, "data")).catch(() => undefined),
      ]);
      if (ref === undefined) continue;
      found.push({ ref, offset: data?.size ?? 0, startedAt: dateOf(startedAt) });
    }
    return found;
  }

  async abort(ref: string): Promise<void> {
    const quoted = JSON.stringify(ref.slice(0, 200));
    if (this.#held.has(ref)) {
      throw new Failure("unavailable", `cannot abort ingest ${quoted}: a writer has it`);
    }
    try {
      await rm(this.#ingestFolder(ref), { recursive: true });
    } catch (error) {
      if (errnoOf(error) === "ENOENT") throw new Failure("not_found", `cannot abort ingest ${quoted}: there is none`);
      throw diskFailure(`cannot abort ingest ${quoted}`, error);
    }
  }

  delete(digest: Digest): Promise<void> {
    return this.#blob(digest, "delete", () => unlink(this.#path(digest)));
  }

  readonly #publisher: Publisher = {
    writeBack: (file) => {
      // One at a time: each has a thread of the few that all file access of this process shares.
      if (this.#writingBack) return undefined;
      this.#writingBack = true;
      return file.datasync().finally(() => this.#writingBack = false);
    },
    path: (digest: Digest) => this.#path(digest),
    find: (digest: Digest, size: number) => this.#find(digest, size),
    sync: (digest: Digest) => this.#syncs[splitDigest(digest).algorithm].sync(),
  };

  #path(digest: Digest): string {
    const { algorithm, hex } = splitDigest(parseDigest(digest));
    return join(this.#folder, "blobs", algorithm, hex);
  }

  #ingestFolder(ref: string): string {
    return join(this.#folder, "ingest", createHash("sha256").update(ref).digest("hex"));
  }

  /** @param size of a blob that is whole: where the file has another, a disk has lost some of it, and it may be written anew. */
  async #find(digest: Digest, size?: number): Promise<ContentInfo | undefined> {
    try {
      const found = await stat(this.#path(digest));
      return found.isFile() && found.size === (size ?? found.size)
        ? { digest, size: found.size, createdAt: found.mtime }
        : undefined;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw diskFailure(`cannot look up blob ${digest}`, error);
    }
  }

  async #blob<T>(digest: Digest, act: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw errnoOf(error) === "ENOENT" ? missing(digest) : diskFailure(`cannot ${act} blob ${digest}`, error);
    }
  }
}

async function* allNames(folder: string): AsyncGenerator<readonly string[]> {
  yield await readdir(folder);
}

function missing(digest: Digest): Failure {
  return new Failure("not_found", `cannot find blob ${digest} in the content store`);
}

/** Removes what a crash left of ingests that had no ref yet, or no data any more, since it had just become a blob. */
async function removeUseless(ingests: string): Promise<void> {
  for (const id of await readdir(ingests)) {
    const has = (name: string) => stat(join(ingests, id, name)).then(() => true, () => false);
    if (!await has("ref") || !await has("data")) await rm(join(ingests, id), { recursive: true, force: true });
  }
}

async function hasRef(folder: string, ref: string): Promise<boolean> {
  return await readFile(join(folder, "ref"), "utf8").catch(() => undefined) === ref;
}

function dateOf(text: string | undefined): Date {
  const date = new Date(text ?? 0);
  return Number.isNaN(date.getTime()) ? new Date(0) : date;
}
