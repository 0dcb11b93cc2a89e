import * as v from "valibot";
import { Failure } from "./errors.ts";

/**
 * Parses a value from outside by its schema.
 *
 * @param action what could not be done, as the message begins: `cannot deploy function "hello"`.
 * @throws invalid_argument naming the first wrong field, what it is and what was wanted; `details.field` has its path.
 */
export function parse<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  action: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue);
  throw new Failure("invalid_argument", `${action}: ${describe(issue, field)}`, {
    details: field === null ? {} : { field },
  });
}

function describe(issue: v.BaseIssue<unknown>, field: string | null): string {
  const name = field === null ? "it" : JSON.stringify(field);
  if (issue.expected === "never") return `unknown field ${name}`;
  if (issue.received === "undefined" && issue.kind === "schema") {
    return `${name} is missing`;
  }
  // A schema's own message says what is wanted; Valibot's built-in ones begin with "Invalid".
  const wanted = issue.message.startsWith("Invalid ") ? issue.expected ?? issue.message : issue.message;
  const received = issue.received.length > 100 ? `${issue.received.slice(0, 100)}…` : issue.received;
  return `${name} is ${received}: wanted ${wanted}`;
}
