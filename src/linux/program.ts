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
  /** Names this operation, so that a jump can reach it. */
  readonly label?: string;
  /** What a negative result does: end the program (default), go on, or go on at a label. */
  readonly onError?: "fail" | "ignore" | { readonly goto: string };
  /** Where to go on when the result is zero. */
  readonly onZero?: { readonly goto: string };
  /** Where to go on when the result is above zero. */
  readonly onNonZero?: { readonly goto: string };
}

/**
 * One argument of a system call:
 * - number or bigint: the value itself;
 * - string: the address of its bytes with a NUL behind them;
 * - bytes: their address;
 * - `{ ref }`: the result of the operation that stored under this name (with `at`, the 32-bit word at that byte of a
 *   buffer that a kernel call filled);
 * - an array: the address of 64-bit words, each an argument itself (`argv`, `struct open_how`, …).
 */
export type Argument = number | bigint | string | Uint8Array | Reference | readonly Argument[];

export interface Reference {
  readonly ref: string;
}
