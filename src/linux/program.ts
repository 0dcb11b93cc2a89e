import type { SyscallName } from "./syscalls.ts";

/**
 * A syscall program: what the child of a launch does, as data. It can be printed, compared, tested without root, and made
 * to fail at any step. `encode.ts` lays it out in memory; the stub (`stub/`) runs it.
 */
export type Program = readonly Operation[];

export interface Operation {
  readonly syscall: SyscallName;
  readonly args: readonly Argument[];
  /** Why this step is there, as the failing step's message begins: `mount proc on "/proc"`. */
  readonly why: string;
  /** Names the result, so that a later argument can be `{ ref: name }`. */
  readonly store?: string;
  /** Names this operation, so that a jump can reach it. `end` is the program's end. */
  readonly label?: string;
  /** What a negative result does: end the program (default), go on, or go on at a label. */
  readonly onError?: "fail" | "ignore" | Jump;
  /** Where to go on when the result is zero. */
  readonly onZero?: Jump;
  /** Where to go on when the result is above zero. */
  readonly onNonZero?: Jump;
}

export interface Jump {
  /** A label of this program, or `end`. */
  readonly goto: string;
}

/**
 * One argument of a system call:
 * - number or bigint: the value itself;
 * - string: the address of its bytes with a NUL behind them;
 * - bytes: the address of a copy of them; what the kernel writes there is lost;
 * - `{ out }`: the address of bytes that the kernel fills, which `Results.bytes` returns;
 * - `{ ref }`: the result of an earlier operation, or a word of an earlier `{ out }`;
 * - an array: the address of 64-bit words, each an argument itself (`argv`, `struct open_how`, …);
 * - `{ hole }`: a value given later, to `Template.fill`.
 */
export type Argument = number | bigint | string | Uint8Array | Reference | Output | Hole | readonly Argument[];

export interface Reference {
  /** The name of an earlier `store` or `out`. */
  readonly ref: string;
  /** The value is the signed 32-bit word at this byte: `{ ref: "ends", at: 4 }` is the second descriptor of pipe2. */
  readonly at?: number;
}

/** Bytes for the kernel to fill. The same name again is the same memory. */
export interface Output {
  readonly out: string;
  readonly size: number;
  /** What they hold before the program runs, from the first byte on; the rest is zero. */
  readonly initial?: Uint8Array;
}

export interface Hole {
  readonly hole: string;
}
