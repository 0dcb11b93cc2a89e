import type { MiddlewareHandler } from "hono";
import type * as v from "valibot";
import type { ErrorCode } from "../core/errors.ts";

/** What an answer's body is: JSON of a shape, one of some media types, or nothing. */
export type AnswerBody = v.GenericSchema | readonly string[] | string | null;

/** What a route says of itself, for the API's description. Its handlers carry it, each a part. */
export interface RouteDescription {
  readonly summary?: string;
  readonly answers?: Readonly<Record<number, AnswerBody>>;
  /** What it may refuse with, beside what every route may. */
  readonly problems?: readonly ErrorCode[];
  readonly query?: v.GenericSchema;
  /** The shapes of what stands as JSON in the query. */
  readonly jsonQuery?: Readonly<Record<string, v.GenericSchema>>;
  readonly json?: v.GenericSchema;
  /** The media type of a body that is no JSON. */
  readonly body?: string;
  /** Request headers with a meaning of their own. */
  readonly headers?: Readonly<Record<string, string>>;
}

const description = Symbol("description");

/** Gives a handler a part of its route's description. */
export function withDescription<Handler extends object>(handler: Handler, part: RouteDescription): Handler {
  return Object.assign(handler, { [description]: part });
}

/** The part of a route's description that a handler carries. */
export function descriptionOf(handler: object): RouteDescription {
  return description in handler ? handler[description] as RouteDescription : {};
}

/**
 * Says what a route does, and what it answers with.
 * @param answers by status.
 */
export function documented(
  summary: string,
  answers: NonNullable<RouteDescription["answers"]>,
  more: Omit<RouteDescription, "summary" | "answers" | "query" | "json"> = {},
): MiddlewareHandler {
  return withDescription((_c, next) => next(), { ...more, summary, answers });
}
