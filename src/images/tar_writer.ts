import { type ByteString, toBytes } from "../linux/byte_string.ts";
import type { Timestamp } from "../linux/statx.ts";
import { blockBytes } from "./tar_block.ts";
import { type TarEntry, type TarEntryType } from "./tar_header.ts";

const types: Readonly<Record<TarEntryType, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

const nameBytes = 100;

/** The blocks that end an archive. */
export const tarEnd: Uint8Array<ArrayBuffer> = new Uint8Array(2 * blockBytes);

/**
 * The header of an entry, with an extended header before it where the entry says more than a plain one holds. The same entry
 * always gives the same bytes. Its content follows, padded by `tarPadding`.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
 */
export function tarHeader(entry: TarEntry): Uint8Array<ArrayBuffer>[] {
  const path = entry.type === "directory" && !entry.path.endsWith("/") ? `${entry.path}/` : entry.path;
  const records = paxRecords({ ...entry, path });
  const block = header({ ...entry, path }, types[entry.type]);
  if (records.length === 0) return [block];
  const body = joinBytes(records);
  const extended = {
    path: `PaxHeaders.0/${path}`.slice(0, nameBytes),
    link: "",
    size: body.length,
    mode: 0o644,
    uid: 0,
    gid: 0,
    modified: { seconds: 0, nanoseconds: 0 },
    device: { major: 0, minor: 0 },
  };
  return [header(extended, "x"), body, tarPadding(body.length), block];
}

/** What follows the content of an entry. */
export function tarPadding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(-size & (blockBytes - 1));
}

/** What does not fit a plain header. */
function paxRecords({ path, link, size, uid, gid, modified, attributes }: TarEntry): Uint8Array<ArrayBuffer>[] {
  const records: Uint8Array<ArrayBuffer>[] = [];
  const long = [path, link].some((name) => name.length > nameBytes && !isUtf8(name));
  if (long) records.push(paxRecord("hdrcharset", "BINARY"));
  if (path.length > nameBytes) records.push(paxRecord("path", path));
  if (link.length > nameBytes) records.push(paxRecord("linkpath", link));
  if (size > 0o77777777777) records.push(paxRecord("size", String(size)));
  if (uid > 0o7777777) records.push(paxRecord("uid", String(uid)));
  if (gid > 0o7777777) records.push(paxRecord("gid", String(gid)));
  if (modified.nanoseconds !== 0 || !fitsHeader(modified)) records.push(paxRecord("mtime", paxTime(modified)));
  for (const [name, value] of attributes) records.push(paxRecord(`SCHILY.xattr.${name}`, value));
  return records;
}

function paxRecord(keyword: ByteString, value: ByteString | Uint8Array): Uint8Array<ArrayBuffer> {
  const rest = joinBytes([
    toBytes(` ${keyword}=`),
    typeof value === "string" ? toBytes(value) : value,
    toBytes("\n"),
  ]);
  // The length counts its own digits.
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return joinBytes([toBytes(String(length)), rest]);
}

/** Seconds with nine digits behind the point; a time before 1970 counts back from zero. */
function paxTime({ seconds, nanoseconds }: Timestamp): string {
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  const size = total < 0n ? -total : total;
  const fraction = String(size % 1_000_000_000n).padStart(9, "0").replace(/0+$/, "");
  return `${total < 0n ? "-" : ""}${size / 1_000_000_000n}${fraction === "" ? "" : `.${fraction}`}`;
}

function fitsHeader({ seconds }: Timestamp): boolean {
  return seconds >= 0 && seconds <= 0o77777777777;
}

type HeaderFields = Omit<TarEntry, "type" | "attributes">;

function header({ path, link, size, mode, uid, gid, modified, device }: HeaderFields, type: string) {
  const block = new Uint8Array(blockBytes);
  const put = (at: number, text: ByteString) => block.set(toBytes(text), at);
  // What does not fit is in the extended header, and a reader of that does not look here.
  const octal = (at: number, length: number, value: number) => {
    const digits = value.toString(8);
    put(at, (digits.length < length && value >= 0 ? digits : "0").padStart(length - 1, "0"));
  };
  put(0, path.slice(0, nameBytes));
  octal(100, 8, mode & 0o7777);
  octal(108, 8, uid);
  octal(116, 8, gid);
  octal(124, 12, size);
  octal(136, 12, fitsHeader(modified) ? modified.seconds : 0);
  put(148, "        ");
  put(156, type);
  put(157, link.slice(0, nameBytes));
  put(257, "ustar\x0000");
  octal(329, 8, device.major);
  octal(337, 8, device.minor);
  const sum = block.reduce((sum, byte) => sum + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

function isUtf8(name: ByteString): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(toBytes(name));
    return true;
  } catch {
    return false;
  }
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
