/** A part of a file. */
export interface FilePart {
  readonly path: string;
  /** The first byte, and the one behind the last. */
  readonly start: number;
  readonly end: number;
}

const parts = new WeakMap<ReadableStream, FilePart>();

/**
 * Says which part of which file a stream carries. A host may send the file in its place: Bun gives an answer a length only
 * where it knows the whole of its body.
 */
export function asFilePart<Stream extends ReadableStream>(stream: Stream, part: FilePart): Stream {
  parts.set(stream, part);
  return stream;
}

/** @returns undefined for a stream that is of no file. */
export function filePartOf(stream: ReadableStream): FilePart | undefined {
  return parts.get(stream);
}
