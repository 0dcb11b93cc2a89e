import { Failure, messageOf } from "../core/errors.ts";
import type { FunctionRecord, FunctionSettings } from "../core/function.ts";
import { revisionName } from "../core/revision.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { reasonOf } from "./failures.ts";
import { Instances, lineLength } from "./instances.ts";
import { mostPrepared, Prepared } from "./prepared.ts";
import type { Protocol } from "./protocol.ts";
import type { Recipe } from "./recipe.ts";
import { checkPrepared } from "./recipes.ts";
import type { Refill } from "./refill.ts";
import type { Route } from "./route.ts";

export interface DeploymentParts {
  readonly tasks: Tasks;
  readonly refill: Refill;
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly protocols: Protocols;
  readonly onError: (error: unknown, what: string) => void;
  /** Takes over instances that end with the requests that they have, until nothing is left of them. */
  readonly onRetire: (instances: Instances, retired: Promise<void>) => void;
}

type ServedName = Exclude<FunctionSettings["protocol"], "stdio">;

/** How to speak with containers that serve many requests, by the protocol's name. */
export type Protocols = Readonly<Record<ServedName, Protocol>>;

/** Whether its containers serve many requests. Records of before have no protocol. */
function isServed<R extends FunctionSettings>(settings: R): settings is R & { readonly protocol: ServedName } {
  return settings.protocol !== undefined && settings.protocol !== "stdio";
}

/** How many of a function's containers wait for requests while there are none. */
export function heldBy(settings: FunctionSettings): number {
  return isServed(settings) ? Math.min(settings.minInstances, settings.maxInstances) : settings.prepared;
}

/** How many requests one of its containers takes at once. */
function each(settings: FunctionSettings): number {
  return settings.protocol === "http" ? settings.concurrency : 1;
}

/** How many invocations of a function run at once, at the most. */
export function atOnce(settings: FunctionSettings): number {
  return isServed(settings) ? each(settings) * settings.maxInstances : settings.concurrency;
}

/** How many invocations of a function may be there at once, those included that wait in line. */
export function admitted(settings: FunctionSettings): number {
  return atOnce(settings) + (isServed(settings) ? lineLength : 0);
}

/** How many containers of a revision are to wait for requests: by its own settings where it has traffic, and as provisioned. */
export function heldByRoute(route: Route | undefined, revision: number, settings: FunctionSettings): number {
  if (route === undefined) return 0;
  const provisioned = Math.ceil((route.provisioned.get(revision) ?? 0) / each(settings));
  const own = route.split.has(revision) ? heldBy(settings) : 0;
  return isServed(settings) ? Math.min(Math.max(own, provisioned), settings.maxInstances) : Math.max(own, provisioned);
}

/** A revision that this process runs: what its containers are made of, and those that wait. */
export class Deployment {
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  /** There where its containers serve many requests. */
  readonly instances: Instances | undefined;
  readonly #parts: DeploymentParts;
  #pool: { readonly prepared: Prepared; readonly forget: () => void } | undefined;

  constructor(parts: DeploymentParts) {
    this.record = parts.record;
    this.recipe = parts.recipe;
    this.#parts = parts;
    const { record, protocols } = parts;
    this.instances = isServed(record) ? new Instances({ ...parts, protocol: protocols[record.protocol] }) : undefined;
  }

  /** Containers that wait; undefined where none are to. */
  get prepared(): Prepared | undefined {
    return this.#pool?.prepared;
  }

  /**
   * As `warm`, for a revision that is to answer more than it does, or is to have more ready.
   * @throws failed_precondition, with why its containers are not ready, for who deploys it.
   */
  async prove(action: "deploy" | "move traffic to" | "provision", count: number): Promise<void> {
    const { instances, record } = this;
    try {
      await this.#fill(count);
    } catch (error) {
      // What no caller of the function is told, its owner is.
      const why = reasonOf(error) === "start_failed" && error instanceof Failure ? error.cause ?? error : error;
      const what = action === "deploy"
        ? `function ${JSON.stringify(record.name)}`
        : `revision ${revisionName(record.name, record.revision)}`;
      const log = instances?.lastLog === undefined ? "" : `; the end of its log: ${instances.lastLog}`;
      throw new Failure(
        "failed_precondition",
        `cannot ${action} ${what}: ${messageOf(why)}${log}`,
        { cause: error },
      );
    }
  }

  /** Makes ready what is to be so before a request comes, as far as that can be done. @param count how many containers. */
  async warm(count: number): Promise<void> {
    const { record, onError } = this.#parts;
    try {
      await this.#fill(count);
    } catch (error) {
      // Requests make their own then, and say why where they cannot either; of instances, their pool tells and goes on to try.
      if (this.instances === undefined) onError(error, `cannot prepare containers of function ${record.name}`);
    }
  }

  /** Makes all containers that are to wait. @throws why one cannot be made: those that are there wait all the same. */
  async #fill(count: number): Promise<void> {
    const { tasks, refill, record, recipe, onError } = this.#parts;
    if (this.instances !== undefined) return await this.instances.warm(count);
    this.#pool?.prepared.keep(count);
    if (Math.max(count, mostPrepared(record)) === 0) return;
    if (count > 0) checkPrepared({ ...record, prepared: count }, recipe.runtime);
    const prepared = this.#pool?.prepared ?? new Prepared({ tasks, record, recipe, onError, count });
    try {
      while (prepared.required > 0) await prepared.add();
    } finally {
      this.#pool ??= { prepared, forget: refill.add(prepared) };
    }
  }

  /** Has fewer wait, or as many; more are made by and by. */
  keep(count: number): void {
    this.instances?.keep(count);
    this.#pool?.prepared.keep(count);
  }

  /** How many requests there are containers for now. */
  get readyFor(): number {
    return this.instances === undefined ? this.prepared?.count ?? 0 : this.instances.readyCount * each(this.record);
  }

  /** Lets go of what waits: no traffic comes to it. */
  async cool(): Promise<void> {
    this.instances?.keep(0);
    const pool = this.#pool;
    this.#pool = undefined;
    pool?.forget();
    await pool?.prepared[Symbol.asyncDispose]();
  }

  /** Lets go of what waits, and of the recipe when its last invocation has. */
  async retire(): Promise<void> {
    const { instances, recipe } = this;
    // Requests that they have may take long: nobody waits for that here.
    if (instances !== undefined) this.#parts.onRetire(instances, instances.retire());
    await this.cool();
    await recipe.leave();
  }
}
