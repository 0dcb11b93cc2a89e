import type { CallAnswer } from "./call.ts";

/**
 * How it stands with telling a caller's server how a call has ended. `pending`: the call has not ended, or the server is to be
 * told again. `failed`: it could not be told.
 */
export const callbackStatuses = ["pending", "delivered", "failed"] as const;
export type CallbackStatus = (typeof callbackStatuses)[number];

/** Whom to tell how a call has ended. */
export interface Callback {
  readonly url: string;
  readonly status: CallbackStatus;
  /** How often it was tried. */
  readonly attempts: number;
  /** What went wrong the last time. */
  readonly error: string | undefined;
}

/** A callback whose call has ended. */
export interface DueCallback extends Pick<Callback, "url" | "attempts"> {
  /** The call's id. */
  readonly id: string;
  readonly namespace: string;
  readonly function: string;
  /** Undefined for a call that has failed. */
  readonly answer: CallAnswer | undefined;
  readonly error: string | undefined;
  readonly createdAt: Date;
  readonly finishedAt: Date;
  /** Of the request that made the call. */
  readonly traceparent: string | undefined;
}

/** How an attempt to tell went. */
export type CallbackOutcome =
  | { readonly status: "delivered" }
  | { readonly status: "failed"; readonly error: string }
  | { readonly status: "pending"; readonly error: string; readonly dueAt: Date };

export interface CallbackStore {
  /** Callbacks of calls that have ended, the oldest first, without those of the calls named. */
  due(now: Date, limit: number, without: readonly string[]): Promise<readonly Pick<DueCallback, "id" | "url">[]>;
  /** When the next one is due. */
  next(without: readonly string[]): Promise<Date | undefined>;
  /** @returns undefined where it is not due any more. */
  get(id: string): Promise<DueCallback | undefined>;
  finish(id: string, outcome: CallbackOutcome): Promise<void>;
}
