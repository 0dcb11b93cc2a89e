import { Failure } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { Arena, ArenaFull } from "./arena.ts";
import { encode, type Encoded, fillHoles } from "./encode.ts";
import { frame, writeFrame } from "./frame.ts";
import type { Argument, Program } from "./program.ts";
import { context } from "./stub/layout.ts";
import type { SyscallTable } from "./syscalls.ts";

/** A program in memory, ready to run. */
export interface Loaded {
  readonly program: Program;
  readonly arena: Arena;
  readonly encoded: Encoded;
}

const firstBytes = 64 * 1024;
const mostBytes = 64 * 1024 * 1024;

/** The next larger arena. @param base as `Arena`'s. @throws resource_exhausted past the largest. */
export function enlarge(host: Host, arena: Arena | undefined, base?: number): Arena {
  const byteLength = arena === undefined ? firstBytes : arena.bytes.length * 4;
  if (byteLength > mostBytes) {
    throw new Failure(
      "resource_exhausted",
      `cannot lay out a syscall program: it is larger than ${mostBytes / 2 ** 20} MiB`,
    );
  }
  arena?.memory.release();
  const larger = new Arena(host.map(byteLength), base);
  writeFrame(larger);
  return larger;
}

/** Lays a program out behind the frame and points the frame at it. @throws as `encode`. */
export function load(program: Program, arena: Arena, table: SyscallTable): Loaded {
  arena.cursor = frame.size;
  const encoded = encode(program, arena, table);
  arena.pointer(frame.context + context.operations, encoded.operations);
  return { program, arena, encoded };
}

/**
 * A program that is laid out once and run many times, with a few arguments that change: its `{ hole }`s.
 *
 * It owns pages of its own until `release`. One run at a time: filling it again changes the same memory.
 */
export class Template implements Loaded {
  readonly program: Program;
  readonly #host: Host;
  readonly #table: SyscallTable;
  #loaded!: Loaded;
  /** Where the values of holes begin. */
  #tail = 0;
  #filled = false;

  constructor(host: Host, table: SyscallTable, program: Program) {
    this.program = program;
    this.#host = host;
    this.#table = table;
    this.#load(enlarge(host, undefined));
  }

  get arena(): Arena {
    return this.#loaded.arena;
  }

  get encoded(): Encoded {
    return this.#loaded.encoded;
  }

  /** Whether every hole has a value. */
  get filled(): boolean {
    return this.#filled || this.encoded.holes.size === 0;
  }

  /**
   * Gives each hole its value and clears what an earlier run stored.
   * @throws invalid_argument for a hole without a value, or a value without a hole.
   */
  fill(values: Readonly<Record<string, Argument>> = {}): this {
    for (;;) {
      try {
        this.#fill(values);
        this.#filled = true;
        return this;
      } catch (error) {
        if (!(error instanceof ArenaFull)) throw error;
        this.#load(enlarge(this.#host, this.arena));
      }
    }
  }

  /** Gives the pages back. The template cannot be used any more. */
  release(): void {
    this.arena.memory.release();
  }

  #load(arena: Arena): void {
    for (;;) {
      try {
        this.#loaded = load(this.program, arena, this.#table);
        this.#tail = arena.cursor;
        return;
      } catch (error) {
        if (!(error instanceof ArenaFull)) throw error;
        arena = enlarge(this.#host, arena);
      }
    }
  }

  #fill(values: Readonly<Record<string, Argument>>): void {
    const { arena, encoded } = this.#loaded;
    const { slots, holes } = encoded;
    for (const name in values) {
      if (!holes.has(name)) {
        throw new Failure("invalid_argument", `cannot fill hole ${JSON.stringify(name)}: there is none`);
      }
    }
    for (const { offset, size, initial } of slots.values()) {
      arena.bytes.fill(0, offset, offset + (size ?? 8));
      if (initial !== undefined) arena.bytes.set(initial, offset);
    }
    this.#filled = false;
    arena.cursor = this.#tail;
    fillHoles(arena, encoded, values);
  }
}
