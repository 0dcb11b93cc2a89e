import type { IdRange } from "./id_range.ts";

/** A line of `/etc/subuid` or `/etc/subgid`. */
export interface SubordinateIds extends IdRange {
  /** A user's name or number. */
  readonly owner: string;
}

/** Reads which ids of the machine a user may give to others. @see https://man7.org/linux/man-pages/man5/subuid.5.html */
export function parseSubordinateIds(text: string): readonly SubordinateIds[] {
  return Array.from(text.matchAll(/^([^:#\s]+):(\d{1,10}):(\d{1,10})$/gm), ([, owner = "", first, size]) => ({
    owner,
    first: Number(first),
    size: Number(size),
  }));
}
