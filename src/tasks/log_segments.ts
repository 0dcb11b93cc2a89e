import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { decodeRecord } from "./log_records.ts";

/*
 * A log is a folder of segments, numbered files. Output goes to the last one; the first ones are removed as it grows.
 */

const extension = ".log";

/** The numbers of a log's segments, in order. None where there is no such folder. */
export function segmentsOf(folder: string): readonly number[] {
  return namesIn(folder)
    .filter((name) => /^\d{8,}\.log$/.test(name))
    .map((name) => Number(name.slice(0, -extension.length)))
    .sort((a, b) => a - b);
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

export function segmentPath(folder: string, segment: number): string {
  return join(folder, `${String(segment).padStart(8, "0")}${extension}`);
}

/** Where the last whole record of a segment ends: behind it is what a killed daemon had not written out. */
export function wholeLength(folder: string, segment: number): number {
  const bytes = readFileSync(segmentPath(folder, segment));
  let offset = 0;
  for (;;) {
    const decoded = decodeRecord(bytes, offset);
    if (decoded === undefined || decoded === "damaged") return offset;
    offset = decoded.end;
  }
}

/** The logs in a folder of such, as `<namespace>/<id>`. */
export function logFolders(folder: string): readonly string[] {
  return namesIn(folder).flatMap((namespace) => namesIn(join(folder, namespace)).map((id) => `${namespace}/${id}`));
}

/** Removes a log. */
export function removeLog(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
