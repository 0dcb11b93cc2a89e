import { Failure } from "../../core/errors.ts";
import type { Memory } from "../../core/host.ts";
import { errno } from "../errno.ts";
import { AF_NETLINK, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_RAW } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { syscallFailure } from "../syscall_failure.ts";
import {
  decodeMessages,
  encodeMessage,
  joined,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./message.ts";

/** The protocols that this program speaks. */
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

/** A part of a dump has 32 KiB at most. */
const bufferBytes = 64 * 1024;

/** A message, and what it does, as an error says it: `make bridge "mayfly0"`. */
export interface NetlinkRequest {
  readonly type: number;
  /** Beside those that every request has. */
  readonly flags?: number;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly why: string;
  /** The errnos (positive) with which nothing was left to do. */
  readonly ignore?: readonly number[];
}

/**
 * A netlink socket. The kernel does what a message says while it is sent, so that its answer is there at once: nothing here
 * waits.
 * @see https://man7.org/linux/man-pages/man7/netlink.7.html
 */
export class NetlinkSocket implements Disposable {
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #buffer: Memory;
  #sequence = 0;

  /** @param fd a netlink socket, which this one owns from here on; in whatever network namespace it was made. */
  constructor(kernel: Kernel, fd: number) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#buffer = kernel.host.map(bufferBytes);
  }

  /** Opens one in this process's network namespace. @throws unimplemented where the kernel has no such protocol. */
  static open(kernel: Kernel, protocol: number): NetlinkSocket {
    const fd = kernel.attempt("socket", AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (fd === -errno.EPROTONOSUPPORT || fd === -errno.EAFNOSUPPORT) {
      throw new Failure("unimplemented", `cannot open a netlink socket: the kernel has no protocol ${protocol} of it`);
    }
    if (fd < 0) throw syscallFailure("cannot open a netlink socket", "socket", fd);
    return new NetlinkSocket(kernel, fd);
  }

  [Symbol.dispose](): void {
    this.#kernel.attempt("close", this.#fd);
    this.#buffer.release();
  }

  /** Has something done. @returns what the kernel tells of it. @throws what its errno stands for. */
  ask({ type, flags = 0, body, why, ignore = [] }: NetlinkRequest): readonly NetlinkMessage[] {
    const sequence = ++this.#sequence;
    const sent = { type, flags: NLM_F_REQUEST | NLM_F_ACK | flags, body };
    this.#send(encodeMessage(sent, sequence), why);
    const told: NetlinkMessage[] = [];
    for (;;) {
      for (const message of this.#receive(why)) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          const result = errorOf(message);
          if (result < 0 && !ignore.includes(-result)) throw syscallFailure(`cannot ${why}`, "sendto", result);
          return told;
        }
        told.push(message);
      }
    }
  }

  /** Lists what there is. */
  dump(type: number, body: Uint8Array<ArrayBuffer>, why: string): readonly NetlinkMessage[] {
    const sequence = ++this.#sequence;
    this.#send(encodeMessage({ type, flags: NLM_F_REQUEST | NLM_F_DUMP, body }, sequence), why);
    const told: NetlinkMessage[] = [];
    for (;;) {
      for (const message of this.#receive(why)) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG_DONE) return told;
        if (message.type === NLMSG_ERROR) {
          throw syscallFailure(`cannot ${why}`, "sendto", errorOf(message));
        }
        told.push(message);
      }
    }
  }

  /**
   * Sends messages that are done as a whole or not at all, between two that say so.
   * @throws what the errno of the first that failed stands for, with its `why`.
   */
  batch(begin: NetlinkMessage, requests: readonly NetlinkRequest[], end: NetlinkMessage, why: string): void {
    const first = this.#sequence + 1;
    const messages = requests.map(({ type, flags = 0, body }) => ({
      type,
      flags: NLM_F_REQUEST | NLM_F_ACK | flags,
      body,
    }));
    const all = [begin, ...messages, end].map((message) => encodeMessage(message, ++this.#sequence));
    this.#send(joined(all), why);
    for (let waiting = requests.length; waiting > 0;) {
      for (const message of this.#receive(why)) {
        if (message.type !== NLMSG_ERROR || message.sequence < first) continue;
        const result = errorOf(message);
        const request = requests[message.sequence - first - 1];
        if (result < 0) throw syscallFailure(`cannot ${request?.why ?? why}`, "sendto", result);
        if (request !== undefined) waiting--;
      }
    }
  }

  #send(bytes: Uint8Array<ArrayBuffer>, why: string): void {
    // What an earlier failure left unread.
    while (this.#read() > 0);
    const sent = this.#kernel.attempt("sendto", this.#fd, bytes, bytes.length, 0, 0, 0);
    if (sent < 0) throw syscallFailure(`cannot ${why}`, "sendto", sent);
  }

  #receive(why: string) {
    const length = this.#read();
    if (length < 0) throw syscallFailure(`cannot ${why}: the kernel gave no answer`, "recvfrom", length);
    return decodeMessages(this.#buffer.bytes.subarray(0, length));
  }

  #read(): number {
    return this.#kernel.attempt("recvfrom", this.#fd, this.#buffer.address, bufferBytes, MSG_DONTWAIT, 0, 0);
  }
}

/** The negative errno of a message that ends something; 0 where it was done. */
function errorOf({ body }: NetlinkMessage): number {
  return body.length < 4 ? 0 : new DataView(body.buffer, body.byteOffset, 4).getInt32(0, true);
}
