import { Failure } from "../core/errors.ts";
import type { Arena } from "./arena.ts";
import { portArguments } from "./open_flags.ts";
import type { Argument, Jump, Output, Program, Reference } from "./program.ts";
import { fail, flags, operation, pseudo } from "./stub/layout.ts";
import type { SyscallName, SyscallTable } from "./syscalls.ts";

/** Where a named result lies. */
export interface Slot {
  readonly offset: number;
  /** Bytes of an `out`; undefined for a `store`, which is one word. */
  readonly size: number | undefined;
  readonly initial: Uint8Array | undefined;
}

/** A program in memory. */
export interface Encoded {
  /** Offset of the first operation. */
  readonly operations: number;
  /** Offset of each step, and of the program's end. A step's first operations may be moves. */
  readonly starts: readonly number[];
  readonly slots: ReadonlyMap<string, Slot>;
  /** The words that each hole fills. */
  readonly holes: ReadonlyMap<string, readonly number[]>;
}

/** Calls that wait for a time, or that have done their work when they say EINTR: made again, they would do another thing. */
const once: ReadonlySet<SyscallName> = new Set([
  "clock_nanosleep",
  "close",
  "connect",
  "epoll_pwait",
  "epoll_pwait2",
  "epoll_wait",
  "futex",
  "futex_wait",
  "io_getevents",
  "msgrcv",
  "msgsnd",
  "nanosleep",
  "pause",
  "poll",
  "ppoll",
  "pselect6",
  "rt_sigsuspend",
  "rt_sigtimedwait",
  "select",
  "semop",
  "semtimedop",
]);

/** The flags of an operation whose arguments are all direct. */
export function callFlags(syscall: SyscallName): number {
  return once.has(syscall) ? 0 : flags.retry;
}

const maxArgs = 6;

/** Lays one program out. Operations come first, then what they point to. */
class Encoder {
  readonly #arena: Arena;
  readonly #program: Program;
  readonly #slots = new Map<string, Slot>();
  readonly #holes = new Map<string, number[]>();
  /** Offset of the next operation. */
  #next = 0;

  constructor(arena: Arena, program: Program) {
    this.#arena = arena;
    this.#program = program;
  }

  encode(table: SyscallTable): Encoded {
    const arena = this.#arena;
    const program = this.#program;
    const allMoves = countMoves(program);
    const operations = arena.reserve((program.length + allMoves + 1) * operation.size);
    const starts: number[] = [];
    let jumps = false;
    this.#next = operations;
    for (let index = 0; index < program.length; index++) {
      const { syscall, args: given, store, onError, onZero, onNonZero } = program[index] as Program[number];
      const args = portArguments(table, syscall, given);
      const number = table[syscall];
      if (number === undefined) throw this.#invalid(index, `there is no system call ${JSON.stringify(syscall)}`);
      if (args.length > maxArgs) throw this.#invalid(index, "a system call takes six arguments at most");
      starts.push(this.#next);
      const moves = allMoves === 0 ? 0 : countIn(args);
      const at = this.#next + moves * operation.size;
      let bits = callFlags(syscall);
      for (let i = 0; i < maxArgs; i++) {
        const word = at + operation.args + i * 8;
        const argument = i < args.length ? args[i] as Argument : 0;
        if (typeof argument === "number") arena.word(word, argument);
        else if (typeof argument === "string") arena.pointer(word, arena.string(argument));
        else if (isReference(argument)) bits |= this.#follow(word, argument, index) << i;
        else this.#value(word, argument, index);
      }
      arena.int32(at + operation.number, number);
      arena.int32(at + operation.flags, bits);
      arena.int32(at + operation.index, index);
      arena.int32(at + operation.onError, onError === undefined || onError === "fail" ? fail : operation.size);
      arena.int32(at + operation.onZero, operation.size);
      arena.int32(at + operation.onNonZero, operation.size);
      jumps ||= typeof onError === "object" || onZero !== undefined || onNonZero !== undefined;
      if (store === undefined) arena.word(at + operation.store, 0);
      else arena.pointer(at + operation.store, this.#slot(store, undefined, undefined, index).offset);
      this.#next = at + operation.size;
    }
    starts.push(this.#next);
    arena.int32(this.#next + operation.number, pseudo.end);
    if (jumps) this.#jumps(starts);
    return { operations, starts, slots: this.#slots, holes: this.#holes };
  }

  /** Writes the word that an argument is, other than a reference to a result. */
  #value(word: number, argument: Exclude<Argument, Reference>, index: number): void {
    const arena = this.#arena;
    if (typeof argument === "object" && "hole" in argument) {
      const sites = this.#holes.get(argument.hole);
      if (sites === undefined) this.#holes.set(argument.hole, [word]);
      else sites.push(word);
      arena.word(word, 0);
    } else if (typeof argument === "object" && "out" in argument) {
      const { out, size, initial } = argument as Output;
      arena.pointer(word, this.#slot(out, size, initial, index).offset);
    } else if (Array.isArray(argument)) {
      const words = arena.reserve(argument.length * 8);
      for (let i = 0; i < argument.length; i++) {
        const item = argument[i] as Argument;
        if (isReference(item)) this.#move(words + i * 8, item, index);
        else this.#value(words + i * 8, item, index);
      }
      arena.pointer(word, words);
    } else {
      writeValue(arena, word, argument as number | bigint | string | Uint8Array);
    }
  }

  /** Points an argument at the result that it takes its value from. @returns the flag that says how. */
  #follow(word: number, { ref, at }: Reference, index: number): number {
    const slot = this.#slots.get(ref);
    if (slot === undefined) throw this.#invalid(index, `nothing before it stores ${JSON.stringify(ref)}`);
    const narrow = at !== undefined || slot.size !== undefined;
    const byte = at ?? 0;
    if (!(byte >= 0 && byte + 4 <= (slot.size ?? 8))) {
      throw this.#invalid(index, `byte ${byte} is outside of ${JSON.stringify(ref)}`);
    }
    this.#arena.pointer(word, slot.offset + byte);
    return narrow ? flags.indirect32 : flags.indirect;
  }

  /** Adds an operation that carries a result into a word of an array. */
  #move(target: number, reference: Reference, index: number): void {
    const arena = this.#arena;
    const at = this.#next;
    this.#next += operation.size;
    arena.bytes.fill(0, at, at + operation.size);
    arena.int32(at + operation.number, pseudo.move);
    arena.int32(at + operation.flags, this.#follow(at + operation.args, reference, index));
    arena.pointer(at + operation.store, target);
    arena.int32(at + operation.index, index);
    for (const way of [operation.onError, operation.onZero, operation.onNonZero]) arena.int32(at + way, operation.size);
  }

  #slot(name: string, size: number | undefined, initial: Uint8Array | undefined, index: number): Slot {
    const known = this.#slots.get(name);
    if (known !== undefined) {
      if (known.size === size) return known;
      throw this.#invalid(index, `${JSON.stringify(name)} has another size before it`);
    }
    if (initial !== undefined && initial.length > (size ?? 0)) {
      throw this.#invalid(index, `what ${JSON.stringify(name)} holds at first is larger than its ${size} bytes`);
    }
    const slot = { offset: this.#arena.zeroed(size ?? 8), size, initial };
    if (initial !== undefined) this.#arena.bytes.set(initial, slot.offset);
    this.#slots.set(name, slot);
    return slot;
  }

  /** Writes the distances of jumps, now that each operation's place is known. */
  #jumps(starts: readonly number[]): void {
    const labels = new Map<string, number>([["end", this.#program.length]]);
    this.#program.forEach(({ label }, index) => {
      if (label === undefined) return;
      if (labels.has(label)) throw this.#invalid(index, `the label ${JSON.stringify(label)} is taken`);
      labels.set(label, index);
    });
    this.#program.forEach(({ onError, onZero, onNonZero }, index) => {
      // An operation ends where the next one's moves begin.
      const at = (starts[index + 1] as number) - operation.size;
      const aim = (way: number, jump: Jump | undefined) => {
        if (jump === undefined) return;
        const target = labels.get(jump.goto);
        if (target === undefined) throw this.#invalid(index, `there is no label ${JSON.stringify(jump.goto)}`);
        const distance = (starts[target] as number) - at;
        if (distance === fail) throw this.#invalid(index, "a step cannot jump to itself");
        this.#arena.int32(at + way, distance);
      };
      aim(operation.onError, typeof onError === "object" ? onError : undefined);
      aim(operation.onZero, onZero);
      aim(operation.onNonZero, onNonZero);
    });
  }

  #invalid(index: number, what: string): Failure {
    const { why } = this.#program[index] as Program[number];
    return new Failure("invalid_argument", `cannot encode step ${index} (${why}): ${what}`, {
      details: { step: index },
    });
  }
}

/**
 * Lays a program out behind an arena's cursor.
 * @throws ArenaFull; invalid_argument when the program itself is wrong: an unknown call, label or name.
 */
export function encode(program: Program, arena: Arena, table: SyscallTable): Encoded {
  return new Encoder(arena, program).encode(table);
}

/**
 * Writes the word that a plain value is: a value of a `call`, or of a hole.
 * @throws ArenaFull; invalid_argument for what has a meaning in programs alone.
 */
export function writeValue(arena: Arena, word: number, value: Argument): void {
  if (typeof value === "number") arena.word(word, value);
  else if (typeof value === "string") arena.pointer(word, arena.string(value));
  else if (typeof value === "bigint") arena.wide(word, value);
  else if (value instanceof Uint8Array) arena.pointer(word, arena.copy(value));
  else if (isList(value)) {
    const words = arena.reserve(value.length * 8);
    for (let i = 0; i < value.length; i++) writeValue(arena, words + i * 8, value[i] as Argument);
    arena.pointer(word, words);
  } else {
    throw new Failure(
      "invalid_argument",
      `cannot use ${JSON.stringify(value)} here: it has a meaning in a program alone`,
    );
  }
}

/**
 * Gives each hole of a program its value, behind the arena's cursor.
 * @throws ArenaFull; invalid_argument for a hole without a value.
 */
export function fillHoles(arena: Arena, { holes }: Encoded, values: Readonly<Record<string, Argument>>): void {
  for (const [name, [first, ...others]] of holes) {
    const value = values[name];
    if (value === undefined || first === undefined) {
      throw new Failure("invalid_argument", `cannot run the program: the hole ${JSON.stringify(name)} has no value`);
    }
    writeValue(arena, first, value);
    for (const site of others) arena.bytes.copyWithin(site, first, first + 8);
  }
}

function isReference(argument: Argument): argument is Reference {
  return typeof argument === "object" && "ref" in argument;
}

function isList(argument: Argument): argument is readonly Argument[] {
  return Array.isArray(argument);
}

/** How many references lie in arrays: each needs an operation more. */
function countMoves(program: Program): number {
  let count = 0;
  for (const { args } of program) count += countIn(args);
  return count;
}

function countIn(args: readonly Argument[], nested = false): number {
  let count = 0;
  for (const argument of args) {
    if (typeof argument !== "object") continue;
    if (isList(argument)) count += countIn(argument, true);
    else if (nested && isReference(argument)) count++;
  }
  return count;
}
