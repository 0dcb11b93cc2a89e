/**
 * The running side of a container, from create to delete: `created → running → stopped`, then gone.
 */
export interface Task {
  readonly id: string;
  readonly status: TaskStatus;
  /** Process id of the container's init on this machine; undefined before `start`. */
  readonly pid: number | undefined;
  /** Undefined where `CreateTask.stdio` did not ask for a pipe. Closing it is the container's end of file. */
  readonly stdin: WritableStream<Uint8Array> | undefined;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  /**
   * Runs the container's process; resolves when it has been executed.
   * @throws failed_precondition unless created; the failing step's error (command not found is `not_found` with
   * `details.exitCode` 127, not executable `permission_denied` with 126).
   */
  start(): Promise<void>;
  /**
   * Resolves when init has ended. May be called often and at any time after `create`.
   * @throws what `start` threw; failed_precondition for a task that is deleted before it was started.
   */
  wait(): Promise<Exit>;
  /** Signals init. No error when it has ended. @param signal default SIGKILL (9). @throws failed_precondition before `start`. */
  kill(signal?: number): void;
  /** Resources in use now. @throws failed_precondition when the task is not running. */
  stats(): Promise<TaskStats>;
  /**
   * Kills what still runs, waits for its end, and removes everything the task had. May be called more than once.
   * @returns the exit, or undefined when the task was never started.
   */
  delete(): Promise<Exit | undefined>;
}

/** `stopped` also is a task whose start failed. */
export type TaskStatus = "created" | "running" | "stopped";

/** How a task ended. */
export interface Exit {
  /** The exit status; 128 + the signal's number when a signal ended it. */
  readonly code: number;
  readonly signal: number | undefined;
  readonly exitedAt: Date;
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
