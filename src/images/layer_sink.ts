import type { Slice } from "../linux/slice.ts";
import type { TarEntry } from "./tar_header.ts";
import type { TarData } from "./tar_reader.ts";

/** Where a layer is unpacked to: `add` each entry, `write` the pieces of its content, `finish` once. */
export interface LayerSink {
  /** Takes a piece of the archive as it is, before it is read. */
  archive?(bytes: Uint8Array): void;
  /** @param offset where in the archive the entry's content begins. */
  add(entry: TarEntry, offset: number): Promise<void>;
  /** Takes a piece of the content of the last entry. */
  write(piece: TarData): void;
  /** Does what had to wait until all was there. */
  finish(slice: Slice): Promise<void>;
}
