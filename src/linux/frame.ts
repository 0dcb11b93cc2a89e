import type { Arena } from "./arena.ts";
import { cloneArgs, context, fail, operation, pseudo } from "./stub/layout.ts";

const align = (offset: number): number => (offset + 63) & ~63;

const clone = align(context.size);
const pidfd = clone + cloneArgs.size;
const single = align(pidfd + 8);
const singleOperation = single + context.size;
const size = align(singleOperation + 2 * operation.size);

/** Offsets of the fixed part at the start of an arena: what the stub is given, with room for a single call beside it. */
export const frame = {
  /** The context of a program. */
  context: 0,
  /** `struct clone_args` of a spawn. */
  clone,
  /** Where clone3 writes the pidfd. */
  pidfd,
  /** The context of a single call. */
  single,
  /** The single call's operation; its program's end lies behind it. */
  singleOperation,
  /** Where the changing part begins. */
  size,
} as const;

/** Writes the fixed part and leaves the cursor behind it. */
export function writeFrame(arena: Arena): void {
  arena.bytes.fill(0, 0, size);
  for (const start of [frame.context, frame.single]) arena.word(start + context.all, -1);
  arena.pointer(clone + cloneArgs.pidfd, pidfd);
  arena.pointer(single + context.operations, singleOperation);
  arena.int32(singleOperation + operation.onError, fail);
  arena.int32(singleOperation + operation.onZero, operation.size);
  arena.int32(singleOperation + operation.onNonZero, operation.size);
  arena.int32(singleOperation + operation.size + operation.number, pseudo.end);
  arena.cursor = size;
}
