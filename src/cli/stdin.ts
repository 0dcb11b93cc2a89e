import { Readable } from "node:stream";
import process from "node:process";

/** Standard input as a web stream. */
export function standardInput(): ReadableStream<Uint8Array<ArrayBuffer>> {
  return Readable.toWeb(process.stdin) as unknown as ReadableStream<Uint8Array<ArrayBuffer>>;
}
