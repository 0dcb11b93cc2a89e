import { Failure } from "../core/errors.ts";
import { ArenaFull } from "./arena.ts";
import type { ChildExit } from "./children.ts";
import { type Encoded, fillHoles } from "./encode.ts";
import { errno } from "./errno.ts";
import * as f from "./flags.ts";
import { frame } from "./frame.ts";
import type { Spawned } from "./kernel.ts";
import type { Argument, Program } from "./program.ts";
import { Results } from "./results.ts";
import type { Stages } from "./stages.ts";
import { type Step, stepFailure } from "./step_failure.ts";
import { context, init } from "./stub/layout.ts";
import { syscallFailure } from "./syscall_failure.ts";
import { syscallTable } from "./syscalls.ts";

/** Values for a program's holes. */
export type Values = Readonly<Record<string, Argument>>;

/** What came back for a program: where it ended, and what it stored. */
interface Answer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Who sent it. */
  readonly pid: number;
  /** Which came with it. The receiver's to close. */
  readonly descriptor?: number;
}

/** A program on its way. */
interface Sent {
  readonly encoded: Encoded;
  /** How many bytes come back at its end. */
  readonly reply: number;
}

/** How a process comes to be that another one makes, by cloning itself. */
export interface Birth {
  /** Asks for it. What it answers then, or why there is none, comes over the stage's socket. */
  ask(): Asked;
  /** Lets go of what asking takes: nobody wants the process any more. */
  forget(): void;
}

/** Who has been asked for a process. */
export interface Asked {
  /** The process id of the one that is to make it. */
  readonly maker: number;
  /** How many bytes the process answers at first. */
  readonly reply: number;
  /** Reads why there is no process, from `refusalBytes` of its maker. */
  readonly refusal: (bytes: Uint8Array<ArrayBuffer>) => Failure;
}

/** How many bytes say that there is no process. */
export const refusalBytes = 16;

/**
 * The byte that a program sends in the middle, with a descriptor or without. An answer cannot begin with it: its first byte
 * is the lowest of an operation's address.
 */
export const announcement = "!";

/** Longer than any set of system calls that does not wait for something takes. */
const defaultTimeoutMs = 10_000;
const messageBytes = 56;
const controlBytes = 128;

/**
 * A process that runs programs, one after another, until one of them executes something. Whatever its programs do to it,
 * this object follows: a program that makes a child with CLONE_PARENT and ends in the child goes on as the child.
 *
 * It holds a descriptor until `execute` or `abandon`, and its process until `release` or `abandon`.
 */
export class Stage {
  readonly #stages: Stages;
  readonly #control: number;
  #process: Spawned | undefined;
  /** A process that nobody has asked for yet. */
  #birth: Birth | undefined;
  /** Settles when the process is there, or is known not to come. */
  #born: Promise<void> | undefined;
  #open = true;
  #owned = true;
  /** Resolves when the process that was left to itself is gone. */
  #left: Promise<void> | undefined;
  /** Settles when those are reaped that it went on from. */
  #before: Promise<unknown> = Promise.resolve();

  /** @param control a socket to the process. One that is still to come is asked for when there is a program for it. */
  constructor(stages: Stages, control: number, process: Spawned | Birth) {
    this.#stages = stages;
    this.#control = control;
    if ("pidfd" in process) this.#process = process;
    else this.#birth = process;
  }

  /** The process. One that is still to come is not known before an answer of it. */
  get process(): Spawned {
    if (this.#process === undefined) throw this.#gone();
    return this.#process;
  }

  /** Gives the process away: its pidfd and its end are the caller's to see to. It is to be the last one, see `run`. */
  release(): Spawned {
    const { process } = this;
    this.#owned = false;
    return process;
  }

  /**
   * Runs a program in the process.
   * @param options.timeoutMs after which the process is taken for stuck. Default 10 s.
   * @throws the failing step's errno: the message begins with its `why`, `details.step` is its index; aborted when the
   * process has ended; deadline_exceeded.
   */
  async run(program: Program, values: Values = {}, options: { readonly timeoutMs?: number } = {}): Promise<Results> {
    const { encoded, reply } = this.#send(program, values);
    const answer = await this.#receive(reply, options.timeoutMs ?? defaultTimeoutMs);
    if (answer === undefined) throw this.#gone();
    if (answer.pid !== this.process.pid) this.#follow(answer.pid);
    return this.#results(program, encoded, answer.bytes);
  }

  /**
   * Runs the last program, which ends in execve; resolves when that has been done.
   * @throws as `run`: the process is still there then.
   */
  async execute(program: Program, values: Values = {}, options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const sent = this.#send(program, values);
    this.#executed(program, sent, await this.#receive(sent.reply, options.timeoutMs ?? defaultTimeoutMs));
  }

  /**
   * Runs the only program, which ends in execve, and says on its way who its process has become (`announcement`).
   * @param onAnnounced takes the descriptor that came with that, if one did.
   * @throws as `run`: the process is still there then.
   */
  async executeAnnounced(
    program: Program,
    values: Values,
    onAnnounced: (descriptor: number | undefined) => void,
  ): Promise<void> {
    const sent = this.#send(program, values);
    onAnnounced((await this.#announced(program, sent)).descriptor);
    this.#executed(program, sent, await this.#receive(sent.reply, defaultTimeoutMs));
  }

  /** The descriptor closes when something is executed: the end means success. */
  #executed(program: Program, { encoded }: Sent, answer: Answer | undefined): void {
    if (answer === undefined) return this.#close();
    this.#results(program, encoded, answer.bytes);
    throw new Failure("invalid_argument", "cannot execute: the program came to its end without");
  }

  /**
   * Has a program run while this process goes on.
   * @returns what waits for its end, to be called before anything else is asked of the process. It throws as `run`.
   */
  ahead(program: Program, values: Values = {}): () => Promise<void> {
    const { encoded, reply } = this.#send(program, values);
    return async () => {
      const answer = await this.#receive(reply, defaultTimeoutMs);
      if (answer === undefined) throw this.#gone();
      this.#results(program, encoded, answer.bytes);
    };
  }

  /** Passes descriptors to the process, for the program that it is at to receive with a message of one byte. */
  pass(descriptors: readonly number[]): void {
    const rights = new Uint8Array(Int32Array.from(descriptors).buffer);
    const control = new Uint8Array(16 + (rights.length + 7 & ~7));
    // struct cmsghdr. @see https://man7.org/linux/man-pages/man3/cmsg.3.html
    control.set(new Uint8Array(Int32Array.of(16 + rights.length, 0, f.SOL_SOCKET, f.SCM_RIGHTS).buffer));
    control.set(rights, 16);
    const message = [0, 0, [".", 1], 1, control, control.length, 0];
    this.#stages.kernel.call("sendmsg", this.#control, message, f.MSG_NOSIGNAL);
  }

  /**
   * Runs a program that nobody waits for: the process is at it until somebody ends it.
   * @returns how many bytes it would answer.
   */
  begin(program: Program, values: Values = {}): number {
    return this.#send(program, values).reply;
  }

  /** Where the steps of a program come to lie, for `failedStep`. @throws as `run`. */
  starts(program: Program, values: Values = {}): readonly number[] {
    return this.#encode(program, values).starts;
  }

  /** Receives the descriptor that a program sends with its announcement. The caller closes it. @throws as `run`. */
  async descriptor(program: Program, values: Values = {}): Promise<number> {
    const sent = this.#send(program, values);
    const { descriptor } = await this.#announced(program, sent);
    const rest = await this.#receive(sent.reply, defaultTimeoutMs);
    if (rest === undefined) throw this.#gone();
    this.#results(program, sent.encoded, rest.bytes);
    if (descriptor === undefined) throw new Failure("internal", "the process sent no descriptor");
    return descriptor;
  }

  /** Receives a program's announcement, and follows who sent it. @throws what the program failed with before. */
  async #announced(program: Program, { encoded, reply }: Sent): Promise<Answer> {
    const first = await this.#receive(1, defaultTimeoutMs);
    if (first === undefined) throw this.#gone();
    if (first.pid !== this.process.pid) this.#follow(first.pid);
    if (first.bytes[0] === announcement.charCodeAt(0)) return first;
    const rest = await this.#receive(reply - 1, defaultTimeoutMs);
    if (rest === undefined) throw this.#gone();
    const bytes = new Uint8Array(reply);
    bytes.set(first.bytes);
    bytes.set(rest.bytes, 1);
    this.#results(program, encoded, bytes);
    throw new Failure("internal", "the process announced nothing");
  }

  /** Gives the process a last program, at whose end it ends. @returns what resolves then; it never rejects. */
  leave(program: Program, values: Values = {}): Promise<void> {
    this.#send(program, values);
    this.#close();
    return this.#left = this.#reap(this.process.pidfd).catch(() => {}).then(() => void (this.#owned = false));
  }

  /**
   * Kills the process and resolves when it is gone. May be called more than once. A process that was given away ends by
   * itself when it comes to wait for a program.
   */
  async abandon(): Promise<void> {
    this.#birth?.forget();
    this.#birth = undefined;
    // One that is asked for has to be known before it can be reaped.
    await this.#born?.catch(() => {});
    this.#close();
    if (this.#owned && this.#process !== undefined) {
      const { pidfd } = this.#process;
      this.#stages.kernel.attempt("pidfd_send_signal", pidfd, f.SIGKILL, 0, 0);
      if (this.#left === undefined) {
        this.#owned = false;
        await this.#reap(pidfd);
      } else await this.#left;
    }
    await this.#before;
  }

  /** Lays a program out for the process and sends it. One that is still to come finds there what it takes without it. */
  #send(program: Program, values: Values): Sent {
    if (!this.#open) throw this.#gone();
    const { kernel } = this.#stages;
    const encoded = this.#encode(program, values);
    const { arena } = this.#stages;
    let reply: number = frame.size;
    for (const { offset, size } of encoded.slots.values()) reply = Math.max(reply, offset + (size ?? 8));
    const head = headOf(arena.cursor, reply);
    for (const [bytes, length] of [[head, head.length], [arena.memory.address, arena.cursor]] as const) {
      for (let sent = 0; sent < length;) {
        const from = typeof bytes === "number" ? bytes + sent : bytes;
        const how = f.MSG_NOSIGNAL | (this.#birth === undefined ? 0 : f.MSG_DONTWAIT);
        const result = kernel.attempt("sendto", this.#control, from, length - sent, how, 0, 0);
        if (result === -errno.EAGAIN && this.#birth !== undefined) {
          this.#ask(this.#birth);
          // Another program may have been laid out there for that.
          this.#encode(program, values);
          continue;
        }
        if (result === -errno.EPIPE || result === -errno.ECONNRESET) {
          // Why there is none is told by who was to make it.
          if (this.#process === undefined) return { encoded, reply };
          throw this.#gone();
        }
        if (result <= 0) throw syscallFailure("cannot send a program to a process", "sendto", result);
        sent += result;
      }
    }
    if (this.#birth !== undefined) this.#ask(this.#birth);
    return { encoded, reply };
  }

  #ask(birth: Birth): void {
    this.#birth = undefined;
    this.#born = this.#begin(birth.ask());
    // It is told to whoever waits for an answer of the process.
    this.#born.catch(() => {});
  }

  #encode(program: Program, values: Values): Encoded {
    const table = syscallTable(this.#stages.kernel.host.arch);
    for (;;) {
      try {
        const { arena } = this.#stages;
        const encoded = this.#stages.layOut(program, table);
        fillHoles(arena, encoded, values);
        return encoded;
      } catch (error) {
        if (!(error instanceof ArenaFull)) throw error;
        this.#stages.enlarge();
      }
    }
  }

  /** Takes the process for this one's whose first answer comes. @throws why none does. */
  async #begin({ maker, reply, refusal }: Asked): Promise<void> {
    const first = await this.#hear(refusalBytes, defaultTimeoutMs);
    if (first === undefined) throw this.#gone();
    if (first.pid === maker) throw refusal(first.bytes);
    this.#process = { pid: first.pid, pidfd: this.#stages.kernel.call("pidfd_open", first.pid, 0) };
    if (await this.#hear(reply - refusalBytes, defaultTimeoutMs) === undefined) throw this.#gone();
  }

  /** @returns as `#hear`. @throws why there is no process. */
  async #receive(length: number, timeoutMs: number): Promise<Answer | undefined> {
    if (this.#born !== undefined) {
      await this.#born;
      this.#born = undefined;
    }
    return await this.#hear(length, timeoutMs);
  }

  /** @returns undefined at the end: the process is gone, or has executed something. */
  async #hear(length: number, timeoutMs: number): Promise<Answer | undefined> {
    const bytes = new Uint8Array(length);
    const { message, control, data } = this.#stages.buffers;
    const deadline = Date.now() + timeoutMs;
    let pid = 0;
    let descriptor: number | undefined;
    for (let received = 0, turn = 0; received < length;) {
      if (!this.#open) return undefined;
      const part = Math.min(length - received, data.bytes.length);
      const words = new BigUint64Array(message.bytes.buffer, message.bytes.byteOffset, messageBytes / 8 + 2);
      const iov = message.address + messageBytes;
      words.set([0n, 0n, BigInt(iov), 1n, BigInt(control.address), BigInt(controlBytes), 0n]);
      words.set([BigInt(data.address), BigInt(part)], messageBytes / 8);
      const how = f.MSG_WAITALL | f.MSG_CMSG_CLOEXEC | (turn === 0 ? 0 : f.MSG_DONTWAIT);
      const result = this.#stages.kernel.attempt("recvmsg", this.#control, message.address, how);
      if (result === -errno.EAGAIN) {
        if (Date.now() > deadline) {
          throw new Failure("deadline_exceeded", `cannot go on with process ${this.process.pid}: it does not answer`);
        }
        await pause(turn++);
        continue;
      }
      if (result === 0 || result === -errno.ECONNRESET) return undefined;
      if (result < 0) throw syscallFailure("cannot receive a process's answer", "recvmsg", result);
      bytes.set(data.bytes.subarray(0, result), received);
      received += result;
      const passed = readControl(control.bytes, Number(words[5]));
      pid = passed.pid ?? pid;
      descriptor ??= passed.descriptor;
    }
    return descriptor === undefined ? { bytes, pid } : { bytes, pid, descriptor };
  }

  /** @throws what the program failed with. */
  #results(program: Program, encoded: Encoded, bytes: Uint8Array<ArrayBuffer>): Results {
    const failed = failedStep(program, encoded.starts, bytes);
    if (failed !== undefined) throw failed;
    const view = new DataView(bytes.buffer);
    return new Results({ encoded, arena: { bytes, read: (offset) => Number(view.getBigInt64(offset, true)) } }, 0);
  }

  #follow(pid: number): void {
    const { kernel } = this.#stages;
    const pidfd = kernel.call("pidfd_open", pid, 0);
    const before = this.process.pidfd;
    this.#process = { pid, pidfd };
    this.#before = Promise.allSettled([this.#before, this.#reap(before)]);
  }

  async #reap(pidfd: number): Promise<ChildExit> {
    try {
      return await this.#stages.children.wait(pidfd);
    } finally {
      this.#stages.kernel.attempt("close", pidfd);
    }
  }

  #close(): void {
    if (this.#open) this.#stages.kernel.attempt("close", this.#control);
    this.#open = false;
  }

  #gone(): Failure {
    const name = this.#process === undefined ? "a process that was to be made" : `process ${this.#process.pid}`;
    return new Failure("aborted", `cannot go on with ${name}: it was killed`);
  }
}

/** What comes before a program. @param reply how much of its memory is to come back. */
export function headOf(length: number, reply: number): Uint8Array {
  const head = new Uint8Array(init.head);
  const view = new DataView(head.buffer);
  view.setUint32(init.length, length, true);
  view.setUint32(init.reply, reply, true);
  return head;
}

/**
 * Reads from a stub's answer which step has failed. Nothing that comes from the process is taken for an address.
 * @param starts as `Encoded`'s.
 */
export function failedStep(
  program: readonly Step[],
  starts: readonly number[],
  bytes: Uint8Array<ArrayBuffer>,
): Failure | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < context.size) return new Failure("aborted", "the process was killed while it answered");
  const number = -view.getInt32(frame.context + context.error, true);
  if (number === 0) return undefined;
  const at = Number(view.getBigUint64(frame.context + context.current, true)) - init.memory - init.base;
  const after = starts.findIndex((start) => start > at);
  return stepFailure(program, Math.min(Math.max(after - 1, 0), program.length - 1), number);
}

/** Lets the event loop turn, the longer the more often. */
function pause(turn: number): Promise<void> {
  return new Promise((resolve) => {
    if (turn < 4) setTimeout(resolve, 0);
    else setTimeout(resolve, Math.min(turn - 3, 20));
  });
}

/** Reads who has sent a message, and the descriptor that came with it. @see https://man7.org/linux/man-pages/man3/cmsg.3.html */
function readControl(bytes: Uint8Array<ArrayBuffer>, length: number): { pid?: number; descriptor?: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const passed: { pid?: number; descriptor?: number } = {};
  for (let at = 0; at + 16 <= length;) {
    const size = view.getUint32(at, true);
    const type = view.getInt32(at + 12, true);
    if (type === f.SCM_CREDENTIALS) passed.pid = view.getInt32(at + 16, true);
    if (type === f.SCM_RIGHTS) passed.descriptor = view.getInt32(at + 16, true);
    at += (size + 7) & ~7;
  }
  return passed;
}
