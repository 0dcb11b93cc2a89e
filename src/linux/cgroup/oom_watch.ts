import { errno } from "../errno.ts";
import * as f from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import { pipe } from "../pipe.ts";
import type { Program } from "../program.ts";
import type { Stage } from "../stage.ts";
import type { Stages } from "../stages.ts";
import { syscallFailure } from "../syscall_failure.ts";
import type { Cgroup } from "./cgroup.ts";
import type { Hierarchy } from "./layout.ts";

/** What a cgroup says of its want for memory. */
export interface OomState {
  /** How many of its processes the kernel killed for it. */
  readonly kills: number;
  /** Whether its processes stand still for it, since nobody is to be killed. */
  readonly stuck: boolean;
}

/** What the kernel tells by, and who carries it. */
interface Source {
  readonly fd: number;
  readonly relay: Stage;
  readonly version: 1 | 2;
}

interface Watched {
  readonly cgroup: Cgroup;
  readonly hierarchy: Hierarchy;
  readonly listener: (state: OomState) => void;
}

/** Version 1 tells of the want before it kills: when to look again, in milliseconds. */
const looks = [1, 5, 20, 100, 500];

/**
 * Looking takes at most one part in so many of the time: version 1 gives notice of each cgroup's removal too, and does not
 * say of which.
 */
const rest = 20;

const [source, sink] = [0, 1];
const chunkBytes = 4096;
/** `struct inotify_event` without a name. */
const eventBytes = 16;

/**
 * Carries what the kernel tells over a pipe, since no JavaScript runtime waits for an eventfd or inotify. It ends with the
 * pipe: `ppoll` sees the reader go also while there is nothing to tell.
 */
const relay: Program = [
  {
    syscall: "ppoll",
    args: [[BigInt(source) | BigInt(f.POLLIN) << 32n, sink], 2, 0, 0, 0],
    why: "wait for a notice",
    label: "wait",
  },
  {
    syscall: "read",
    args: [source, { out: "notice", size: chunkBytes }, chunkBytes],
    store: "length",
    why: "read a notice",
    onError: { goto: "over" },
  },
  {
    syscall: "write",
    args: [sink, { out: "notice", size: chunkBytes }, { ref: "length" }],
    why: "hand the notice on",
    onError: { goto: "over" },
    onNonZero: { goto: "wait" },
  },
  { syscall: "exit_group", args: [0], why: "end", label: "over" },
];

/**
 * Tells when the kernel kills in a cgroup for want of memory, while it happens. All cgroups share one descriptor: an eventfd
 * on version 1, inotify on `memory.events` on version 2. The first one that is watched starts the process that relays it.
 */
export class OomWatch implements AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #stages: Stages;
  /** By watch descriptor on version 2, by a number of its own on version 1. */
  readonly #watched = new Map<number, Watched>();
  #source: Source | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #ended: Promise<void> | undefined;
  #next = 0;
  /** Which of the looks is next, and when. */
  #look = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How long the last look took. */
  #lookMs = 0;

  constructor(stages: Stages) {
    this.#kernel = stages.kernel;
    this.#stages = stages;
  }

  /**
   * Watches a cgroup, until the returned function is called or the cgroup is gone. One without a memory controller has
   * nothing to tell.
   * @param listener may be called more than once for the same kill.
   * @throws resource_exhausted when there are no descriptors or processes left.
   */
  watch(cgroup: Cgroup, listener: (state: OomState) => void): () => void {
    const hierarchy = memoryOf(cgroup);
    if (hierarchy === undefined) return () => {};
    const { fd, version } = this.#source ??= this.#open(hierarchy.version);
    const key = version === 1 ? this.#register(cgroup, hierarchy, fd) : this.#notify(cgroup, hierarchy, fd);
    if (key < 0) return () => {};
    this.#watched.set(key, { cgroup, hierarchy, listener });
    return () => {
      if (!this.#watched.delete(key) || version === 1 || this.#source === undefined) return;
      this.#kernel.attempt("inotify_rm_watch", fd, key);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watched.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const source = this.#source;
    if (source === undefined) return;
    this.#source = undefined;
    await source.relay.abandon();
    await this.#reader?.cancel().catch(() => {});
    await this.#ended;
    this.#kernel.attempt("close", source.fd);
  }

  #open(version: 1 | 2): Source {
    const kernel = this.#kernel;
    const fd = version === 1
      ? kernel.call("eventfd2", 0, f.O_CLOEXEC | f.O_NONBLOCK)
      : kernel.call("inotify_init1", f.O_CLOEXEC | f.O_NONBLOCK);
    try {
      const { read, write } = pipe(kernel);
      try {
        const stage = this.#stages.spawn(new Map([[source, fd], [sink, write], [2, null]]));
        stage.begin(relay);
        this.#reader = kernel.host.readable(read).getReader();
        this.#ended = this.#listen(this.#reader, version);
        return { fd, relay: stage, version };
      } catch (error) {
        kernel.attempt("close", read);
        throw error;
      } finally {
        kernel.attempt("close", write);
      }
    } catch (error) {
      kernel.attempt("close", fd);
      throw error;
    }
  }

  /** The kernel keeps what is registered for as long as there is the cgroup, also under another name. */
  #register(cgroup: Cgroup, hierarchy: Hierarchy, fd: number): number {
    if (!cgroup.marks.has(this)) {
      const path = `${cgroup.folders.get(hierarchy)}/memory.oom_control`;
      const control = this.#kernel.attempt("openat", f.AT_FDCWD, path, f.O_RDONLY | f.O_CLOEXEC, 0);
      if (control === -errno.ENOENT) return control;
      if (control < 0) throw syscallFailure(`cannot watch ${JSON.stringify(path)}`, "openat", control);
      const result = cgroup.write(hierarchy, "cgroup.event_control", `${fd} ${control}`);
      this.#kernel.attempt("close", control);
      if (result < 0) throw syscallFailure(`cannot watch ${JSON.stringify(path)}`, "write", result);
      cgroup.marks.add(this);
    }
    return this.#next++;
  }

  #notify(cgroup: Cgroup, hierarchy: Hierarchy, fd: number): number {
    const path = `${cgroup.folders.get(hierarchy)}/memory.events`;
    const result = this.#kernel.attempt("inotify_add_watch", fd, path, f.IN_MODIFY);
    if (result < 0 && result !== -errno.ENOENT) {
      throw syscallFailure(`cannot watch ${JSON.stringify(path)}`, "inotify_add_watch", result);
    }
    return result;
  }

  async #listen(reader: ReadableStreamDefaultReader<Uint8Array>, version: 1 | 2): Promise<void> {
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        if (version === 1) this.#lookSoon();
        else for (const key of watchesIn(next.value)) this.#tell(this.#watched.get(key));
      }
    } catch {
      // The relay was killed: what happens is told at each container's end.
    }
  }

  /** Looks at all soon, and some times more. */
  #lookSoon(): void {
    // One that is to come anyway is as good.
    if (this.#timer !== undefined && this.#look <= 1) return;
    clearTimeout(this.#timer);
    this.#look = 0;
    this.#schedule();
  }

  #schedule(): void {
    const delayMs = looks[this.#look++];
    this.#timer = delayMs === undefined || this.#source === undefined ? undefined : setTimeout(() => {
      const begun = performance.now();
      for (const watched of [...this.#watched.values()]) this.#tell(watched);
      this.#lookMs = performance.now() - begun;
      this.#schedule();
    }, Math.max(delayMs, rest * this.#lookMs));
  }

  #tell(watched: Watched | undefined): void {
    if (watched === undefined) return;
    const { cgroup, hierarchy, listener } = watched;
    const state = oomState(cgroup, hierarchy);
    if (state.kills > 0 || state.stuck) listener(state);
  }
}

function memoryOf(cgroup: Cgroup): Hierarchy | undefined {
  return [...cgroup.folders.keys()].find(({ controllers }) => controllers.includes("memory"));
}

function oomState(cgroup: Cgroup, hierarchy: Hierarchy): OomState {
  try {
    const text = cgroup.read(hierarchy, hierarchy.version === 1 ? "memory.oom_control" : "memory.events");
    const field = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
    return { kills: field("oom_kill"), stuck: field("oom_kill_disable") === 1 && field("under_oom") === 1 };
  } catch {
    // It is gone: its container has been deleted.
    return { kills: 0, stuck: false };
  }
}

function* watchesIn(bytes: Uint8Array): Generator<number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + eventBytes <= bytes.length; at += eventBytes) yield view.getInt32(at, true);
}
