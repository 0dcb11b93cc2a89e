import { Failure } from "../core/errors.ts";
import { blockBytes, malformed } from "./tar_block.ts";

/** Where the pieces of a file with holes are: what is in an archive of it, in its order. */
export type SparseMap = readonly { readonly offset: number; readonly length: number }[];

/** More pieces than this belong to no file. */
const maxSegments = 1_000_000;

/** The numbers of a map, in pairs. @throws invalid_argument; resource_exhausted. */
export function sparseMapOf(numbers: readonly number[]): SparseMap {
  if (numbers.length % 2 !== 0) throw malformed("the map of a sparse file has an offset without a length");
  if (numbers.length / 2 > maxSegments) throw tooLong();
  return Array.from({ length: numbers.length / 2 }, (_, i) => ({
    offset: numbers[i * 2] ?? 0,
    length: numbers[i * 2 + 1] ?? 0,
  }));
}

/**
 * Sees that pieces are in order, within the file, and as long as the archive has them.
 * @param size of the file, with its holes. @param stored of what the archive has of it. @throws invalid_argument.
 */
export function checkSparseMap(map: SparseMap, size: number, stored: number): void {
  let [end, sum] = [0, 0];
  for (const { offset, length } of map) {
    if (!(offset >= end && length >= 0 && offset + length <= size)) {
      throw malformed(`a piece of a sparse file of ${size} bytes is at ${offset}, with ${length} bytes`);
    }
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) throw malformed(`the pieces of a sparse file have ${sum} bytes, the archive has ${stored} of it`);
}

/**
 * Entries of GNU tar's own form: 12 bytes of offset and 12 of length each; an empty one ends them.
 * @see https://www.gnu.org/software/tar/manual/html_node/Old-GNU-Format.html
 */
export function oldSparseNumbers(
  block: Uint8Array,
  at: number,
  count: number,
  number: (block: Uint8Array, offset: number, length: number, what: string) => number,
): number[] {
  const numbers: number[] = [];
  for (let i = 0; i < count; i++, at += 24) {
    if (block[at] === 0 && block[at + 12] === 0) break;
    numbers.push(number(block, at, 12, "sparse offset"), number(block, at + 12, 12, "sparse length"));
  }
  return numbers;
}

/** Reads a list of decimal numbers, with commas between. @throws invalid_argument. */
export function commaNumbers(text: string): number[] {
  return text === "" ? [] : text.split(",").map(decimal);
}

/** The map that stands before a file's content (GNU tar's form 1.0): a count, then so many pairs, each with a newline. */
export class LeadingMap {
  #text = "";
  #numbers: number[] = [];

  /** Takes the next block. @returns the map once it is whole; what is behind it in the block is padding. */
  feed(block: Uint8Array): SparseMap | undefined {
    this.#text += String.fromCharCode(...block);
    const lines = this.#text.split("\n");
    this.#text = lines.pop() ?? "";
    for (const line of lines) {
      this.#numbers.push(decimal(line));
      const [count = 0] = this.#numbers;
      if (count > maxSegments) throw tooLong();
      if (this.#numbers.length === 1 + count * 2) return sparseMapOf(this.#numbers.slice(1));
    }
    if (this.#text.length > blockBytes) throw malformed("the map of a sparse file is no list of numbers");
    return undefined;
  }
}

function decimal(text: string): number {
  const number = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(number)) return number;
  throw malformed(`${JSON.stringify(text.slice(0, 40))} in the map of a sparse file is no whole number`);
}

function tooLong(): Failure {
  return new Failure("resource_exhausted", `cannot read the tar archive: a sparse file has over ${maxSegments} pieces`);
}
