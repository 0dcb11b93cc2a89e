import type { Argument } from "./program.ts";
import { type SyscallName, type SyscallTable, syscallTable } from "./syscalls.ts";

/** The flags of open(2) that are other bits on arm64: x86-64's, and arm64's. */
const moved = [
  // O_DIRECT
  [0o40000, 0o200000],
  // O_LARGEFILE
  [0o100000, 0o400000],
  // O_DIRECTORY, which is in O_TMPFILE too
  [0o200000, 0o40000],
  // O_NOFOLLOW
  [0o400000, 0o100000],
] as const;

const allMoved = moved.reduce((bits, [x64]) => bits | x64, 0);

/** Flags of open(2) as arm64 has them. */
function onArm64(flags: number): number {
  return moved.reduce((bits, [x64, arm64]) => (flags & x64) === 0 ? bits : bits | arm64, flags & ~allMoved);
}

const arm64 = syscallTable("arm64");

/**
 * The arguments of a call as a processor wants them. All constants in `flags.ts` are x86-64's, and all but the flags of
 * open(2) are arm64's too.
 */
export function portArguments(table: SyscallTable, name: SyscallName, args: readonly Argument[]): readonly Argument[] {
  if (table !== arm64 || (name !== "openat" && name !== "openat2")) return args;
  const [folder = 0, path = 0, flags, ...rest] = args;
  if (typeof flags === "number") return [folder, path, onArm64(flags), ...rest];
  if (!Array.isArray(flags) || typeof flags[0] !== "number") return args;
  return [folder, path, [onArm64(flags[0]), ...flags.slice(1)], ...rest];
}
