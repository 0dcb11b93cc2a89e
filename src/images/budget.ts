import { Failure } from "../core/errors.ts";

/** What unpacking one image may take. */
export interface UnpackLimits {
  /** Bytes of its layers, decompressed, together. Default 64 GiB. */
  readonly bytes: number;
  /** Files and folders of all its layers. Default 5 million. */
  readonly entries: number;
}

export const defaultLimits: UnpackLimits = { bytes: 64 * 2 ** 30, entries: 5_000_000 };

/** Counts what one unpack takes, so that a small download cannot fill the disk. */
export class Budget {
  readonly #limits: UnpackLimits;
  #bytes = 0;
  #entries = 0;

  constructor(limits: UnpackLimits) {
    this.#limits = limits;
  }

  /** @throws resource_exhausted past the limit. */
  bytes(count: number): void {
    this.#bytes += count;
    if (this.#bytes > this.#limits.bytes) throw past("bytes", this.#limits.bytes);
  }

  /** @throws resource_exhausted past the limit. */
  entry(): void {
    if (++this.#entries > this.#limits.entries) throw past("entries", this.#limits.entries);
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
