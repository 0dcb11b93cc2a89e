import type { Argument, Operation, Program } from "./program.ts";

/**
 * Prints a program as a numbered list, a line for each step: its reason, then the call.
 *
 * ```text
 *  0  make the host's mounts private: mount(0, "/", 0, 0x44000, 0)
 * ```
 */
export function explain(program: Program): string {
  const width = String(program.length - 1).length;
  return program.map((step, index) => `${String(index).padStart(width)}  ${step.why}: ${explainStep(step)}`).join("\n");
}

/** The arguments that may hold what nobody else is to read: data that is written, environments. */
const secrets: Readonly<Record<string, number>> = { write: 1, pwrite64: 1, sendto: 1, execve: 2, execveat: 3 };

/** Prints a system call as C would have it, without secrets: `openat(-100, "/dev/null", 0x80002)`. */
export function explainCall(syscall: string, args: readonly Argument[]): string {
  const secret = secrets[syscall];
  const words = args.map((argument, i) => i === secret ? explainSecret(argument) : explainArgument(argument));
  return `${syscall}(${words.join(", ")})`;
}

function explainStep({ syscall, args, store, label, onError, onZero, onNonZero }: Operation): string {
  const parts = [explainCall(syscall, args)];
  if (label !== undefined) parts.unshift(`[${label}]`);
  if (store !== undefined) parts.push(`→ ${store}`);
  if (onError === "ignore") parts.push("(an error is no matter)");
  else if (typeof onError === "object") parts.push(`(on error: ${onError.goto})`);
  if (onZero !== undefined) parts.push(`(if 0: ${onZero.goto})`);
  if (onNonZero !== undefined) parts.push(`(if above 0: ${onNonZero.goto})`);
  return parts.join(" ");
}

function explainArgument(argument: Argument): string {
  if (typeof argument === "string") return JSON.stringify(argument);
  if (typeof argument === "bigint") return `0x${BigInt.asUintN(64, argument).toString(16)}`;
  if (typeof argument === "number") return explainNumber(argument);
  if (argument instanceof Uint8Array) return `<${argument.length} bytes>`;
  if ("ref" in argument) return argument.at === undefined ? argument.ref : `${argument.ref}[${argument.at}]`;
  if ("out" in argument) return `<${argument.out}: ${argument.size} bytes>`;
  if ("hole" in argument) return `<${argument.hole}>`;
  return `[${argument.map(explainArgument).join(", ")}]`;
}

/** Prints what is kept to itself by its size. */
function explainSecret(argument: Argument): string {
  if (typeof argument === "string") return `<${argument.length} characters>`;
  if (Array.isArray(argument)) return `<${argument.length} words>`;
  return explainArgument(argument);
}

/** Small numbers are counts and descriptors; large ones are flags and addresses. */
function explainNumber(value: number): string {
  return value < 1024 ? String(value) : `0x${value.toString(16)}`;
}
