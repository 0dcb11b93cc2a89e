import type { Argument, Program, Reference } from "./program.ts";
import type { Results } from "./results.ts";

/**
 * Goes on with what earlier programs of the same process stored: what a program refers to and does not store itself becomes
 * the value that it has.
 */
export class KnownResults {
  readonly #values = new Map<string, number>();

  /** Takes what a program has stored. */
  add(program: Program, results: Results): void {
    for (const { store } of program) if (store !== undefined) this.#values.set(store, results.get(store));
  }

  /** The program with what is known in place. */
  bind(program: Program): Program {
    if (this.#values.size === 0) return program;
    const own = new Set(program.flatMap(({ store }) => store === undefined ? [] : [store]));
    const bind = (argument: Argument): Argument => {
      if (Array.isArray(argument)) return argument.map(bind);
      if (!isReference(argument) || argument.at !== undefined || own.has(argument.ref)) return argument;
      return this.#values.get(argument.ref) ?? argument;
    };
    return program.map((operation) => ({ ...operation, args: operation.args.map(bind) }));
  }
}

function isReference(argument: Argument): argument is Reference {
  return typeof argument === "object" && "ref" in argument;
}
