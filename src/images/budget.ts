import { Failure } from "../core/errors.ts";

/** What unpacking one image may take. */
export interface UnpackLimits {
  /** Bytes of its layers, decompressed, together. Default 64 GiB. */
  readonly bytes: number;
  /** Files and folders of all its layers. Default 5 million. */
  readonly entries: number;
}

export const defaultLimits: UnpackLimits = { bytes: 64 * 2 ** 30, entries: 5_000_000 };

/** Counts what one unpack takes, so that a small download cannot fill the disk. All threads count together. */
export class Budget {
  readonly #limits: UnpackLimits;
  readonly #shared: SharedArrayBuffer;
  /** Bytes, entries. */
  readonly #counts: BigInt64Array<SharedArrayBuffer>;

  /** @param shared what `state` of another thread's budget gave. Default: it begins with nothing. */
  constructor(limits: UnpackLimits, shared: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.#limits = limits;
    this.#shared = shared;
    this.#counts = new BigInt64Array(shared);
  }

  /** What another thread makes the same budget of. */
  get state(): { readonly limits: UnpackLimits; readonly shared: SharedArrayBuffer } {
    return { limits: this.#limits, shared: this.#shared };
  }

  /** @throws resource_exhausted past the limit. */
  bytes(count: number): void {
    if (this.#add(0, count) > this.#limits.bytes) throw past("bytes", this.#limits.bytes);
  }

  /** @throws resource_exhausted past the limit. */
  entry(): void {
    if (this.#add(1, 1) > this.#limits.entries) throw past("entries", this.#limits.entries);
  }

  #add(index: number, count: number): number {
    return Number(Atomics.add(this.#counts, index, BigInt(count))) + count;
  }
}

function past(what: "bytes" | "entries", limit: number): Failure {
  return new Failure(
    "resource_exhausted",
    `cannot unpack: the image has more than ${limit} ${what === "bytes" ? "bytes unpacked" : "files and folders"}: ` +
      `raise the limit if that is meant`,
    { details: { limit: what, value: limit } },
  );
}
