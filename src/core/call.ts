import type { Callback } from "./callback.ts";

/**
 * How an asynchronous call stands. `failed`: it has used up its attempts or its time, or cannot succeed; it is kept as a dead
 * letter, and may be replayed.
 */
export const callStatuses = ["queued", "running", "succeeded", "failed"] as const;
export type CallStatus = (typeof callStatuses)[number];

/** A request that was accepted, to be run later: at least once, and never twice at the same time. */
export interface Call {
  /** 80 bits of it are random: whoever knows it may ask for the answer. */
  readonly id: string;
  readonly namespace: string;
  readonly function: string;
  readonly status: CallStatus;
  /** How often it was begun. */
  readonly attempts: number;
  readonly createdAt: Date;
  /** When it is tried next, or was begun last. */
  readonly dueAt: Date;
  readonly finishedAt: Date | undefined;
  /** What went wrong the last time. */
  readonly error: string | undefined;
  /** The record of the last attempt. */
  readonly invocation: string | undefined;
  /** Whom to tell how it has ended. */
  readonly callback: Callback | undefined;
}

/** What was asked. */
export interface CallRequest {
  readonly method: string;
  readonly scriptName: string;
  readonly path: string;
  readonly query: string;
  readonly headers: [name: string, value: string][];
  /** The client's address. */
  readonly client?: string | undefined;
}

/** What was answered. */
export interface CallAnswer {
  readonly contentType: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

export interface NewCall extends Pick<Call, "id" | "namespace" | "function"> {
  readonly request: CallRequest;
  readonly body: Uint8Array<ArrayBuffer> | undefined;
  /** The URL that is told how it has ended. */
  readonly callback: string | undefined;
}

/** How an attempt ended. */
export type CallOutcome =
  | { readonly status: "succeeded"; readonly invocation: string | undefined; readonly answer: CallAnswer }
  | { readonly status: "failed"; readonly invocation?: string | undefined; readonly error: string }
  | {
    readonly status: "queued";
    readonly invocation?: string | undefined;
    readonly error: string;
    readonly dueAt: Date;
    /** Whether it was an attempt. */
    readonly counts: boolean;
  };

/** The queue of calls. */
export interface CallStore {
  /** Writes calls durably, all or none: when it returns, they outlive a power cut. */
  add(calls: readonly NewCall[]): Promise<void>;
  /** @returns undefined where nobody knows the id. @param namespace default any. */
  get(id: string, namespace?: string): Promise<Call | undefined>;
  /** The newest first. */
  list(namespace: string, options: {
    readonly function?: string | undefined;
    readonly status?: CallStatus | undefined;
    readonly limit: number;
  }): Promise<readonly Call[]>;
  /** Which functions have calls queued, and how many. */
  waiting(): Promise<readonly { readonly namespace: string; readonly function: string; readonly count: number }[]>;
  /** Those of a function that are due, the oldest first. */
  due(namespace: string, name: string, now: Date, limit: number): Promise<readonly Call[]>;
  /** When the next one of a function is due. */
  nextDue(namespace: string, name: string): Promise<Date | undefined>;
  /** Marks one as running, as one more attempt. @returns what was asked; undefined where it is not queued any more. */
  begin(id: string, now: Date): Promise<Pick<NewCall, "request" | "body"> | undefined>;
  finish(id: string, outcome: CallOutcome): Promise<void>;
  /** @returns undefined for one that has no answer. */
  answer(id: string): Promise<CallAnswer | undefined>;
  /** Queues one that has failed again, with new attempts and time. @returns whether there was one. */
  replay(namespace: string, id: string): Promise<boolean>;
  /** @returns whether one that does not run was there. */
  delete(namespace: string, id: string): Promise<boolean>;
  /** Queues again what an earlier process was at. @returns how many. */
  recover(): Promise<number>;
  /** Keeps the newest `keep` that have ended, and those whose callback is pending. */
  prune(keep: number): Promise<void>;
}
