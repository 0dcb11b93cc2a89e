import * as v from "valibot";
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
export const CallRequestSchema = v.object({
  method: v.string(),
  scriptName: v.string(),
  path: v.string(),
  query: v.string(),
  headers: v.array(v.tuple([v.string(), v.string()])),
  /** The client's address. */
  client: v.optional(v.string()),
  /** How many calls it has followed from, each telling how the one before has ended. Default none. */
  hops: v.optional(v.number()),
});
export type CallRequest = v.InferOutput<typeof CallRequestSchema>;

/** What was answered. */
export interface CallAnswer {
  readonly contentType: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** A call as its message in the queue has it. */
export interface AcceptedCall extends Pick<Call, "id" | "namespace" | "function"> {
  /** When it was accepted, or replayed last. */
  readonly createdAt: Date;
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

/**
 * What is known of calls, by their ids. That one is to be run is the queue's to say: a record of it that was lost is made
 * anew when its message comes.
 */
export interface CallStore {
  /** Records what was accepted, soon; what is known already stays as it is. */
  add(calls: readonly AcceptedCall[]): void;
  /** @returns undefined where nobody knows the id. @param namespace default any. */
  get(id: string, namespace?: string): Promise<Call | undefined>;
  /** The newest first. */
  list(namespace: string, options: {
    readonly function?: string | undefined;
    readonly status?: CallStatus | undefined;
    readonly limit: number;
  }): Promise<readonly Call[]>;
  /**
   * Marks one as running, as one more attempt; the first behind a replay.
   * @returns its record; undefined for one that is not to be run: it has ended, was replayed since, or deleted.
   */
  begin(call: AcceptedCall, now: Date): Promise<Call | undefined>;
  /** Of one that has failed, what was asked is kept. */
  finish(call: AcceptedCall, outcome: CallOutcome): Promise<void>;
  /** @returns undefined for one that has no answer. */
  answer(id: string): Promise<CallAnswer | undefined>;
  /** @returns what was asked; undefined for one that has not failed. */
  failed(namespace: string, id: string): Promise<AcceptedCall | undefined>;
  /** One that had failed is queued again, with new attempts and time. */
  replayed(call: AcceptedCall): Promise<void>;
  /** One that waits is not run when its message comes. @returns whether one that does not run was there. */
  delete(namespace: string, id: string): Promise<boolean>;
  /** Takes away what is left of one that was deleted: its message is gone, too. */
  forget(id: string): Promise<void>;
  /** What an earlier process was at waits again. @returns how many. */
  recover(): Promise<number>;
  /** Keeps the newest `keep` that have ended, and those whose callback is pending. */
  prune(keep: number): Promise<void>;
}
