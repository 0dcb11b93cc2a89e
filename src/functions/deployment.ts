import type { FunctionRecord } from "../core/function.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { Prepared } from "./prepared.ts";
import type { Recipe } from "./recipe.ts";
import type { Refill } from "./refill.ts";

export interface DeploymentParts {
  readonly tasks: Tasks;
  readonly refill: Refill;
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly onError: (error: unknown, what: string) => void;
}

/** A revision that this process runs: what its containers are made of, and those that wait. */
export class Deployment {
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly #parts: DeploymentParts;
  #pool: { readonly prepared: Prepared; readonly forget: () => void } | undefined;

  constructor(parts: DeploymentParts) {
    this.record = parts.record;
    this.recipe = parts.recipe;
    this.#parts = parts;
  }

  /** Containers that wait; undefined where none are to. */
  get prepared(): Prepared | undefined {
    return this.#pool?.prepared;
  }

  /** Makes ready what is to be so before a request comes: all containers that are to wait. */
  async warm(): Promise<void> {
    const { tasks, refill, record, recipe, onError } = this.#parts;
    if (record.prepared === 0 || this.#pool !== undefined) return;
    const prepared = new Prepared({ tasks, record, recipe, onError });
    try {
      while (prepared.missing > 0) await prepared.add();
    } catch (error) {
      // Requests make their own then, and say why where they cannot either.
      onError(error, `cannot prepare containers of function ${record.name}`);
    }
    this.#pool = { prepared, forget: refill.add(prepared) };
  }

  /** Lets go of what waits: no traffic comes to it. */
  async cool(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    pool?.forget();
    await pool?.prepared[Symbol.asyncDispose]();
  }

  /** Lets go of what waits, and of the recipe when its last invocation has. */
  async retire(): Promise<void> {
    await this.cool();
    await this.recipe.leave();
  }
}
