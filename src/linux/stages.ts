import { Failure } from "../core/errors.ts";
import type { Memory } from "../core/host.ts";
import type { Arena } from "./arena.ts";
import type { Children } from "./children.ts";
import type { Encoded } from "./encode.ts";
import { errno } from "./errno.ts";
import * as f from "./flags.ts";
import { frame } from "./frame.ts";
import type { Kernel, Spawned, SpawnOptions } from "./kernel.ts";
import type { Argument, Operation, Program } from "./program.ts";
import { Stage, type Values } from "./stage.ts";
import { context, init } from "./stub/layout.ts";
import { initStub } from "./stub/mod.ts";
import { syscallFailure } from "./syscall_failure.ts";
import type { SyscallTable } from "./syscalls.ts";
import { enlarge, load, type Template } from "./template.ts";
import type { Templates } from "./templates.ts";

/** Which descriptors a process has: number there → descriptor of this process, or `null` for /dev/null. */
export type Descriptors = ReadonlyMap<number, number | null>;

/** Room for the descriptors of a process, below those that the stub keeps for itself. */
export const mostDescriptors = init.control;

/** The stub's own file. */
const stubFile = init.control + 1;
/** Out of the way of all of these. */
const aside = stubFile + 1;

/** How long this thread waits for an answer before it waits without blocking. */
const blockMs = 20;
/** How many programs that become the stub are kept, for different descriptors. Each takes 64 KiB. */
const mostTemplates = 8;
/** How long a program may take to be sent. */
const sendMs = 1000;

/**
 * Makes processes that are built up in stages. Such a process runs the init stub: nothing of this process's memory is in it,
 * nor a descriptor beyond those that it is given, from before it does anything else. What it does then, it gets in parts,
 * each a program, between which this process can do its own.
 */
export class Stages implements Disposable {
  readonly kernel: Kernel;
  readonly children: Children;
  /** Memory to receive into. One user at a time, within one turn. */
  readonly buffers: Readonly<Record<"message" | "control" | "data", Pick<Memory, "address" | "bytes">>>;
  readonly #laidOut = new WeakMap<Program, { readonly encoded: Encoded; readonly bytes: Uint8Array<ArrayBuffer> }>();
  readonly #templates = new Map<string, Template>();
  #connecting: Template | undefined;
  #stub: number | undefined;
  #arena: Arena | undefined;

  constructor(kernel: Kernel, children: Children) {
    this.kernel = kernel;
    this.children = children;
    this.buffers = { message: kernel.buffer(128), control: kernel.buffer(128), data: kernel.buffer(16 * 1024) };
  }

  [Symbol.dispose](): void {
    if (this.#stub !== undefined) this.kernel.attempt("close", this.#stub);
    this.#stub = undefined;
    this.#arena?.memory.release();
    this.#arena = undefined;
    this.#connecting?.release();
    this.#connecting = undefined;
    for (const template of this.#templates.values()) template.release();
    this.#templates.clear();
  }

  /**
   * Makes a process. Its folders, namespaces, user and cgroups are this process's.
   * @param descriptors at numbers below `mostDescriptors`; it has no others.
   * @throws failed_precondition where the kernel does not execute a file in memory; resource_exhausted.
   */
  spawn(descriptors: Descriptors): Stage {
    const values: Record<string, number> = {};
    for (const [target, source] of descriptors) if (source !== null) values[target] = source;
    return this.#spawn((stub) => this.kernel.spawn(this.#becoming(descriptors).fill({ ...values, ...stub })));
  }

  /** A program that becomes the stub with descriptors at the same numbers; the holes are what they are here. */
  #becoming(descriptors: Descriptors): Template {
    const key = JSON.stringify(Array.from(descriptors, ([target, source]) => [target, source === null]));
    let template = this.#templates.get(key);
    if (template === undefined) {
      const sources = Array.from(
        descriptors,
        ([target, source]) => [target, source === null ? null : { hole: `${target}` }] as const,
      );
      template = this.kernel.compile([...takeDescriptors(new Map(sources)), ...executeStub()]);
    } else this.#templates.delete(key);
    // The order of the map is that of use.
    this.#templates.set(key, template);
    const [oldest] = this.#templates;
    if (this.#templates.size > mostTemplates && oldest !== undefined) {
      this.#templates.delete(oldest[0]);
      oldest[1].release();
    }
    return template;
  }

  /**
   * Makes a process that has come somewhere before it runs the stub: by a program that begins with `takeDescriptors` and ends
   * with `executeStub`. Until it does, it shares this process's memory.
   * @throws as `Kernel.spawn`.
   */
  launch(templates: Templates, values: Values, options: SpawnOptions): Promise<Stage> {
    // What is left of the values is for the programs that come later.
    const own = Object.fromEntries(Object.entries(values).filter(([name]) => templates.holes.has(name)));
    return this.#beside((stub) => templates.spawn({ ...own, ...stub }, options));
  }

  #spawn(make: (own: StubDescriptors) => Spawned): Stage {
    const { kernel } = this;
    const stub = this.#stub ??= makeStub(kernel);
    const { own, other } = this.connect();
    try {
      return new Stage(this, own, make({ control: other, stub }));
    } catch (error) {
      kernel.attempt("close", own);
      throw error;
    } finally {
      kernel.attempt("close", other);
    }
  }

  async #beside(make: (own: StubDescriptors) => Promise<Spawned>): Promise<Stage> {
    const { kernel } = this;
    const stub = this.#stub ??= makeStub(kernel);
    const { own, other } = this.connect();
    try {
      return new Stage(this, own, await make({ control: other, stub }));
    } catch (error) {
      kernel.attempt("close", own);
      throw error;
    } finally {
      kernel.attempt("close", other);
    }
  }

  /** Makes a socket to a process that runs the stub. Both ends are the caller's to close. @throws resource_exhausted. */
  connect(): { readonly own: number; readonly other: number } {
    const ends = this.kernel.run(this.#connecting ??= this.kernel.compile(connecting()));
    return { own: ends.int32("ends"), other: ends.int32("ends", 4) };
  }

  /** Memory to lay a program out in, for the stub's address. One user at a time, within one turn. */
  get arena(): Arena {
    return this.#arena ??= this.#enlarged();
  }

  /**
   * Lays a program out in the arena, with room behind it for the values of its holes. One that was laid out before is
   * copied from then: plans that are used again are kept by those who make them.
   * @throws ArenaFull; as `load`.
   */
  layOut(program: Program, table: SyscallTable): Encoded {
    const { arena } = this;
    const known = this.#laidOut.get(program);
    if (known !== undefined) {
      arena.cursor = 0;
      arena.copy(known.bytes);
      return known.encoded;
    }
    arena.word(frame.context + context.error, 0);
    const { encoded } = load(program, arena, table);
    this.#laidOut.set(program, { encoded, bytes: arena.bytes.slice(0, arena.cursor) });
    return encoded;
  }

  /** A larger one. @throws resource_exhausted when it would not fit into the stub. */
  enlarge(): void {
    this.#arena = this.#enlarged();
  }

  #enlarged(): Arena {
    const arena = enlarge(this.kernel.host, this.#arena, init.memory + init.base);
    if (arena.bytes.length <= init.size - init.base) return arena;
    arena.memory.release();
    this.#arena = undefined;
    throw new Failure("resource_exhausted", `cannot start a process: its arguments and environment are too large`);
  }
}

/** What the stub has beside the descriptors of its user: its end of the socket, and its own file. */
interface StubDescriptors {
  readonly control: number;
  readonly stub: number;
}

/** The stub in memory, as an executable that nobody can change. */
export function makeStub(kernel: Kernel): number {
  const name = "mayfly-init";
  const flags = f.MFD_CLOEXEC | f.MFD_ALLOW_SEALING;
  let fd = kernel.attempt("memfd_create", name, flags | f.MFD_EXEC);
  // Before Linux 6.3 the flag is unknown, and every such file executable.
  if (fd === -errno.EINVAL) fd = kernel.attempt("memfd_create", name, flags);
  if (fd < 0) {
    const cure = fd === -errno.EACCES ? ": vm.memfd_noexec forbids it, set it to 0 or 1" : "";
    throw syscallFailure(`cannot make an executable in memory${cure}`, "memfd_create", fd);
  }
  try {
    const bytes = initStub(kernel.host.arch);
    kernel.call("write", fd, bytes, bytes.length);
    kernel.call("fcntl", fd, f.F_ADD_SEALS, f.F_SEAL_WRITE | f.F_SEAL_GROW | f.F_SEAL_SHRINK | f.F_SEAL_SEAL);
    return fd;
  } catch (error) {
    kernel.attempt("close", fd);
    throw error;
  }
}

/** Makes a pair of stream sockets, whose own end tells who has written. */
function connecting(): Program {
  const type = f.SOCK_STREAM | f.SOCK_CLOEXEC;
  const own = { ref: "ends" };
  const why = "make a socket to the init stub";
  const set = (option: number, value: readonly number[], size: number): Operation => ({
    syscall: "setsockopt",
    args: [own, f.SOL_SOCKET, option, value, size],
    why,
  });
  return [
    { syscall: "socketpair", args: [f.AF_UNIX, type, 0, { out: "ends", size: 8 }], why },
    set(f.SO_PASSCRED, [1], 4),
    set(f.SO_RCVTIMEO, [0, blockMs * 1000], 16),
    set(f.SO_SNDTIMEO, [sendMs / 1000, 0], 16),
  ];
}

/**
 * Takes descriptors to their places, for a process that is to run the stub, and closes all others. The stub's own are holes.
 * @param descriptors number there → what it is in this process, or `null` for /dev/null.
 */
export function takeDescriptors(descriptors: ReadonlyMap<number, Argument | null>): Generator<Operation> {
  return placeDescriptors([
    ...placed(descriptors),
    [init.control, { hole: "control" }, 0],
    [stubFile, { hole: "stub" }, f.O_CLOEXEC],
  ]);
}

/** The same in a process that runs the stub already, whose own stay where they are. */
export function keepDescriptors(descriptors: ReadonlyMap<number, Argument | null>): Generator<Operation> {
  return placeDescriptors([...placed(descriptors)], [init.control, stubFile]);
}

/** A descriptor's place, what goes there, and its flags. */
type Placed = readonly [target: number, source: Argument | null, flags: number];

function placed(descriptors: ReadonlyMap<number, Argument | null>): Placed[] {
  return Array.from(descriptors, ([target, source]) => [target, source, 0] as const);
}

/** @param kept which are open beside them. */
function* placeDescriptors(wanted: readonly Placed[], kept: readonly number[] = []): Generator<Operation> {
  // Any of them may lie where another is to go: all go aside first.
  for (const [target, source] of wanted) {
    const store = `aside:${target}`;
    if (source === null) {
      yield { syscall: "openat", args: [f.AT_FDCWD, "/dev/null", f.O_RDWR, 0], store, why: "open /dev/null" };
    }
    yield {
      syscall: "fcntl",
      args: [source ?? { ref: store }, f.F_DUPFD_CLOEXEC, aside],
      store,
      why: `take hold of descriptor ${target}`,
    };
  }
  for (const [target, , flags] of wanted) {
    const why = `set up descriptor ${target}`;
    yield { syscall: "dup3", args: [{ ref: `aside:${target}` }, target, flags], why };
  }
  let next = 0;
  for (const target of [...wanted.map(([target]) => target), ...kept].toSorted((one, other) => one - other)) {
    if (target > next) yield closeRange(next, target - 1);
    next = target + 1;
  }
  yield closeRange(next, 0xffff_ffff);
}

/** Executes the stub, in a process that has taken its descriptors. */
export function* executeStub(): Generator<Operation> {
  yield {
    syscall: "execveat",
    args: [stubFile, "", ["mayfly-init", 0], [0], f.AT_EMPTY_PATH],
    why: "execute the init stub",
  };
}

function closeRange(first: number, last: number): Operation {
  return { syscall: "close_range", args: [first, last, 0], why: "close every other descriptor of the daemon" };
}
