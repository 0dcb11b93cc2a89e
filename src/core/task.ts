import { Failure } from "./errors.ts";
import type { SpecProcess, SpecResources } from "./spec.ts";

/**
 * The running side of a container, from create to delete: `created → running ⇄ paused → stopped`, then gone.
 *
 * Every task does what `Task` says. What only some can do are abilities, each an interface of its own: a caller asks with
 * `can(task, "pause")`, or takes it with `demand(task, "pause")`, before it calls. A Linux task of the native runtime has
 * them all but those that its machine lacks.
 *
 * What concerns one task happens in the order of the calls; a call that finds the task in a state that it cannot work on
 * throws `failed_precondition` and changes nothing.
 */
export interface Task {
  readonly id: string;
  readonly status: TaskStatus;
  /** Process id of the container's init on this machine; undefined where there is none before `start`. */
  readonly pid: number | undefined;
  /**
   * The daemon's ends of the standard streams. Undefined where `CreateTask.stdio` did not ask for a pipe. Closing stdin is
   * the container's end of file. With a terminal, stdin and stdout are its two directions and there is no stderr.
   */
  readonly stdin: WritableStream<Uint8Array> | undefined;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  /**
   * Runs the container's process; resolves when it has been executed.
   * @param options what was not known at `create`, for a runtime that `givesEnvironmentAtStart`.
   * @throws failed_precondition unless created; the failing step's error (command not found is `not_found` with
   * `details.exitCode` 127, not executable `permission_denied` with 126).
   */
  start(options?: StartOptions): Promise<void>;
  /**
   * Resolves when init has ended. May be called often and at any time after `create`.
   * @throws what `start` threw; failed_precondition for a task that is deleted before it was started.
   */
  wait(): Promise<Exit>;
  /**
   * Signals init, or every process of the container. No error when it has ended.
   * @param signal default SIGKILL (9).
   * @throws failed_precondition before `start`, where no process is there yet; invalid_argument for what is no signal.
   */
  kill(signal?: number, options?: { readonly all?: boolean }): Promise<void>;
  /**
   * Kills what still runs, waits for its end, and removes everything the task had. May be called more than once.
   * @returns the exit, or undefined when the task was never started.
   */
  delete(): Promise<Exit | undefined>;
}

/** `stopped` also is a task whose start failed. */
export type TaskStatus = "created" | "running" | "paused" | "stopped";

/** Freezes and thaws every process of the container. */
export interface Pauses {
  /** Resolves when all are frozen. @throws failed_precondition unless running. */
  pause(): Promise<void>;
  /** @throws failed_precondition unless paused. */
  resume(): Promise<void>;
}

/** Runs more processes beside init. */
export interface Executes {
  /**
   * Starts a process in the container's namespaces and cgroup; resolves when it has been executed. It ends with init.
   * @throws failed_precondition unless running; already_exists for an id in use; as `Task.start`.
   */
  exec(options: ExecOptions): Promise<Process>;
  /** The processes that are not deleted. */
  processes(): readonly Process[];
}

/** Changes the container's limits. */
export interface Updates {
  /**
   * Sets what is named and leaves the rest.
   * @throws failed_precondition when the task is stopped; invalid_argument for a value that the kernel refuses.
   */
  update(resources: SpecResources): Promise<void>;
}

/** Tells what the container uses. */
export interface Measures {
  /** Resources in use now. @throws failed_precondition when the task has no process. */
  stats(): Promise<TaskStats>;
  /** The ids, on this machine, of all of the container's processes. @throws as `stats`. */
  pids(): Promise<readonly number[]>;
}

/** Has a terminal, if the spec asks for one. */
export interface Resizes {
  /** @throws failed_precondition without a terminal. */
  resize(size: TerminalSize): Promise<void>;
}

/** Writes the state of all processes to disk, so that `CreateTask.checkpoint` can go on from there. */
export interface Checkpoints {
  /**
   * @throws failed_precondition unless init runs, and alone, and for what CRIU cannot write; unavailable where the machine has
   * no CRIU that works; unimplemented for a container of a kind that cannot be restored. All goes on as before then.
   */
  checkpoint(options: CheckpointOptions): Promise<void>;
}

/** What a task may be able to do, by name. */
export interface Abilities {
  readonly pause: Pauses;
  readonly exec: Executes;
  readonly update: Updates;
  readonly stats: Measures;
  readonly resize: Resizes;
  readonly checkpoint: Checkpoints;
}

export type Ability = keyof Abilities;

const verbs = {
  pause: ["pause", "resume"],
  exec: ["exec", "processes"],
  update: ["update"],
  stats: ["stats", "pids"],
  resize: ["resize"],
  checkpoint: ["checkpoint"],
} as const satisfies { readonly [A in Ability]: readonly (keyof Abilities[A])[] };

/** Every ability, in the order of the table above. */
export const abilities = Object.keys(verbs) as readonly Ability[];

/** Whether a task, or a process, can do something. */
export function can<A extends Ability, T extends object>(task: T, ability: A): task is T & Abilities[A] {
  return verbs[ability].every((verb) => typeof Reflect.get(task, verb) === "function");
}

/** Takes a task for one that can do something. @throws unimplemented, naming the ability. */
export function demand<A extends Ability, T extends { readonly id: string }>(task: T, ability: A): T & Abilities[A] {
  if (can(task, ability)) return task;
  throw new Failure("unimplemented", `cannot ${ability} ${JSON.stringify(task.id)}: its runtime has no such ability`, {
    details: { ability },
  });
}

/** One more process of a container. */
export interface Process extends Partial<Resizes> {
  /** Unique within its task. */
  readonly id: string;
  readonly pid: number;
  readonly stdin: WritableStream<Uint8Array> | undefined;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  /** Resolves when it has ended. */
  wait(): Promise<ProcessExit>;
  /** @param signal default SIGKILL (9). No error when it has ended. */
  kill(signal?: number): Promise<void>;
  /** Kills it where it still runs, waits for its end, and closes what it had. May be called more than once. */
  delete(): Promise<ProcessExit>;
}

/** What a process is made of. */
export interface ExecOptions {
  /** Unique within the task, of the same form as a container's id. */
  readonly id: string;
  /** As `process` of the OCI runtime configuration. */
  readonly process: SpecProcess;
  readonly stdio?: Stdio;
}

/**
 * The standard streams: a pipe (true), /dev/null (false), or a descriptor of this process's own, which the container gets a
 * copy of.
 */
export interface Stdio {
  readonly stdin?: boolean | number;
  readonly stdout?: boolean | number;
  readonly stderr?: boolean | number;
}

/** In characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

export interface CheckpointOptions {
  /** A folder of the caller's, empty, for CRIU's image files. */
  readonly folder: string;
  /** Whether the container is killed when all is written. Default false. */
  readonly exit?: boolean;
  /** Called when all is written, while nothing of the container runs: for what has to fit it, such as its root filesystem. */
  readonly whileStopped?: () => Promise<void>;
  /** Established TCP connections are kept, not refused. Default false. */
  readonly tcpEstablished?: boolean;
}

/** What a process gets when it starts. */
export interface StartOptions {
  /** `NAME=value`, in place of the spec's environment. PATH has to be the same. */
  readonly env?: readonly string[];
}

/** How a process ended. */
export interface ProcessExit {
  /** The exit status; 128 + the signal's number when a signal ended it. */
  readonly code: number;
  readonly signal: number | undefined;
  readonly exitedAt: Date;
}

/** How a task ended. */
export interface Exit extends ProcessExit {
  /** Whether the kernel's out-of-memory killer ended a process of this container. */
  readonly oomKilled: boolean;
  readonly usage: TaskStats;
}

/** Resources of a task. Undefined where the machine's cgroups do not tell. */
export interface TaskStats {
  readonly cpuMicros: number | undefined;
  readonly memoryBytes: number | undefined;
  /** The most it ever used. */
  readonly memoryPeakBytes: number | undefined;
  readonly pids: number | undefined;
  readonly ioReadBytes: number | undefined;
  readonly ioWriteBytes: number | undefined;
  readonly networkReceivedBytes?: number | undefined;
  readonly networkSentBytes?: number | undefined;
}
