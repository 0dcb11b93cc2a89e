import { type ByteString, fromBytes } from "../linux/byte_string.ts";
import type { Timestamp } from "../linux/statx.ts";
import { malformed } from "./tar_block.ts";

/** What an extended header says about the entry behind it. */
export interface PaxRecords {
  readonly values: Map<string, ByteString>;
  readonly attributes: Map<ByteString, Uint8Array<ArrayBuffer>>;
  /** The offsets and lengths of a sparse file's pieces, in pairs, where each is a record of its own (GNU tar's form 0.0). */
  readonly sparse: number[];
}

const attributePrefix = "SCHILY.xattr.";

/**
 * Reads the records `<length> <keyword>=<value>\n` of an extended header.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03
 */
export function readPax(body: Uint8Array): PaxRecords {
  const values = new Map<string, ByteString>();
  const attributes = new Map<ByteString, Uint8Array<ArrayBuffer>>();
  const sparse: number[] = [];
  for (let at = 0; at < body.length;) {
    const space = body.indexOf(32, at);
    const digits = space < 0 || space - at > 8 ? "" : fromBytes(body.subarray(at, space));
    const end = at + Number(digits);
    const equals = body.indexOf(61, space + 1);
    if (!/^[0-9]+$/.test(digits) || end > body.length || equals < 0 || equals >= end || body[end - 1] !== 10) {
      throw malformed("an extended header is malformed");
    }
    const keyword = fromBytes(body.subarray(space + 1, equals));
    const value = body.slice(equals + 1, end - 1);
    if (keyword.startsWith(attributePrefix)) {
      attributes.set(keyword.slice(attributePrefix.length), value);
    } else {
      if (value.includes(0)) throw malformed(`the ${keyword} of an extended header holds a NUL`);
      values.set(keyword, fromBytes(value));
      if (/^GNU\.sparse\.(?:offset|numbytes)$/.test(keyword)) sparse.push(paxInteger(fromBytes(value), keyword));
    }
    at = end;
  }
  return { values, attributes, sparse };
}

/** Reads a whole decimal number. */
export function paxInteger(value: string, keyword: string): number {
  const number = /^-?[0-9]{1,16}$/.test(value) ? Number(value) : NaN;
  if (Number.isSafeInteger(number)) return number;
  throw malformed(`the ${keyword} ${JSON.stringify(value.slice(0, 40))} of an extended header is no whole number`);
}

/** Reads a time in seconds with a fraction, to the nanosecond: a double would lose the last digits. */
export function paxTime(value: string): Timestamp {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value);
  if (match === null) {
    throw malformed(`the mtime ${JSON.stringify(value.slice(0, 40))} of an extended header is no time`);
  }
  const [, sign, whole = "", fraction = ""] = match;
  const seconds = Number(whole);
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, "0"));
  if (sign !== "-") return { seconds, nanoseconds };
  return nanoseconds === 0 ? { seconds: -seconds, nanoseconds } : {
    seconds: -seconds - 1,
    nanoseconds: 1_000_000_000 - nanoseconds,
  };
}
