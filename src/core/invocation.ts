/** One step of an invocation: `prepare`, `create`, `start`, `first_byte`, `run`, `exit`, `cleanup`. */
export interface Phase {
  readonly name: string;
  /** Milliseconds, with fraction, after the invocation's start. */
  readonly startMs: number;
  readonly durationMs: number;
}

/**
 * How an invocation stands. `failed`: its process ended with another code than 0; `cancelled`: its caller went away;
 * `error`: it could not be run, or its answer could not be delivered.
 */
export const invocationStatuses = ["running", "succeeded", "failed", "timeout", "oom", "cancelled", "error"] as const;
export type InvocationStatus = (typeof invocationStatuses)[number];

/** The record of one request to a function. */
export interface Invocation {
  /** Unique and sortable by time. */
  readonly id: string;
  readonly namespace: string;
  readonly function: string;
  readonly revision: number;
  readonly status: InvocationStatus;
  readonly startedAt: Date;
  readonly durationMs: number | undefined;
  readonly exitCode: number | undefined;
  /** What went wrong, in a sentence. */
  readonly error: string | undefined;
  /** The end of what it wrote to stderr. */
  readonly stderr: string | undefined;
  readonly cpuMicros: number | undefined;
  readonly memoryPeakBytes: number | undefined;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly traceId: string | undefined;
  readonly phases: readonly Phase[];
}

/**
 * Records of invocations. `put` only hands the record over: it is written in batches behind the request, and is visible to
 * `get` at once.
 */
export interface InvocationStore {
  put(invocation: Invocation): void;
  get(namespace: string, id: string): Promise<Invocation | undefined>;
  /** The newest first. @param options.limit default 100. */
  list(
    namespace: string,
    options?: { readonly function?: string; readonly limit?: number },
  ): Promise<readonly Invocation[]>;
  /** Writes what is waiting. */
  flush(): Promise<void>;
  /** Keeps the newest `keep` records and removes the others. @returns how many it removed. */
  prune(keep: number): Promise<number>;
}
