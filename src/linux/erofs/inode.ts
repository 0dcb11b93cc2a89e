import type { ByteString } from "../byte_string.ts";
import type { Timestamp } from "../statx.ts";

/** A file of an EROFS image; one with many names is one object. What it is, its mode says. */
export interface ErofsNode {
  /** Type and permission bits. */
  mode: number;
  uid: number;
  gid: number;
  modified: Timestamp;
  attributes: ReadonlyMap<ByteString, Uint8Array>;
  /** Of a directory: what is in it. */
  children?: Map<ByteString, ErofsNode>;
  /** Of a symbolic link: where it leads. */
  target?: ByteString;
  /** Of a device node: what it stands for. */
  device?: { readonly major: number; readonly minor: number };
  /** Of a file: bytes of its content, and the byte of the image at which that begins: a multiple of `blockBytes`. */
  size?: number;
  at?: number;
}

export type ErofsFolder = ErofsNode & { readonly children: Map<ByteString, ErofsNode> };

export function isFolder(node: ErofsNode): node is ErofsFolder {
  return node.children !== undefined;
}
