/** A part of a blob. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Reads the Range header of a request.
 * @returns undefined for all of it: there is no range, or one of a form that may be ignored, as several ranges.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-14.2
 */
export function parseRange(header: string | null, size: number): ByteRange | "unsatisfiable" | undefined {
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "") ?? [];
  if (first === "" && last === "") return undefined;
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  return offset < end ? { offset, length: end - offset } : "unsatisfiable";
}

/** Reads the Content-Range of a chunk: `0-1023`. @returns undefined for another form. */
export function parseChunkRange(header: string): ByteRange | undefined {
  const [, first, last] = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d+|\*))?$/.exec(header.trim()) ?? [];
  const [offset, length] = [Number(first), Number(last) - Number(first) + 1];
  return length > 0 ? { offset, length } : undefined;
}
