import { codeOf, Failure } from "../core/errors.ts";
import { result } from "./answer.ts";
import type { Flag, FlagValues } from "./command.ts";
import type { Connection } from "./connection.ts";
import { scope } from "./flags.ts";

/** For commands that take containers and functions. */
export const kindFlags: Readonly<Record<string, Flag>> = {
  container: { type: "boolean", help: "the name is a container's, where a function has it too" },
  function: { type: "boolean", help: "the name is a function's, where a container has it too" },
};

/** The path's parameter of a container's routes. */
export function ofContainer(id: string, flags: FlagValues) {
  return { param: { id }, query: scope(flags) };
}

/**
 * What a name is: a container by its name, its id or the beginning of it, or a function.
 * @throws not_found; invalid_argument where it is both and no flag says which.
 */
export async function kindOf(
  { api }: Pick<Connection, "api">,
  name: string,
  flags: FlagValues,
): Promise<"container" | "function"> {
  if (flags["container"] === true) return "container";
  if (flags["function"] === true) return "function";
  const [container, fn] = await Promise.all([
    isThere(result(api.v1.containers[":id"].$get({ param: { id: name }, query: scope(flags) }))),
    isThere(result(api.v1.functions[":name"].$get({ param: { name }, query: scope(flags) }))),
  ]);
  if (container && fn) {
    throw new Failure(
      "invalid_argument",
      `${JSON.stringify(name)} is a container and a function: say --container or --function`,
    );
  }
  if (container || fn) return container ? "container" : "function";
  throw new Failure(
    "not_found",
    `no container and no function is named ${
      JSON.stringify(name)
    }: mayfly ps -a, mayfly functions; a function's containers come and go with it alone`,
  );
}

/** A name that cannot be one of this kind is none of it. */
async function isThere(answer: Promise<unknown>): Promise<boolean> {
  try {
    await answer;
    return true;
  } catch (error) {
    if (codeOf(error) === "not_found" || codeOf(error) === "invalid_argument") return false;
    throw error;
  }
}
