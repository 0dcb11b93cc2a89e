import { codeOf, Failure, messageOf } from "../core/errors.ts";
import type { DeployedFunction, FunctionRecord, FunctionStore } from "../core/function.ts";
import { revisionName } from "../core/revision.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { Deployment, heldByRoute, type Protocols } from "./deployment.ts";
import { startFailed } from "./failures.ts";
import type { Instances } from "./instances.ts";
import { requireRevision } from "./known.ts";
import type { Recipe } from "./recipe.ts";
import type { Recipes } from "./recipes.ts";
import type { Refill } from "./refill.ts";
import { Route } from "./route.ts";

export interface DeploymentsParts {
  readonly recipes: Recipes;
  readonly tasks: Tasks;
  readonly store: Pick<FunctionStore, "revision">;
  readonly refill: Refill;
  readonly protocols: Protocols;
  /** How many containers may wait for requests, over all functions. */
  readonly maxPrepared: number;
  /** How many functions stay made while nobody calls them: each takes some 30 KB, and some milliseconds to be made again. */
  readonly maxResting: number;
  readonly onError: (error: unknown, what: string) => void;
}

/** What this process runs of one function. */
interface Live {
  route: Route;
  /** By number: those that were used since traffic moved last, or have traffic or a tag. */
  readonly revisions: Map<number, Deployment>;
  /** The greater, the later it was used. */
  used: number;
}

/** Whether nothing of it waits for requests. */
function isIdle({ route, revisions }: Live): boolean {
  for (const { record, prepared, instances } of revisions.values()) {
    if (
      heldByRoute(route, record.revision, record) > 0 || (prepared !== undefined && prepared.count > 0) ||
      (instances !== undefined && instances.count > 0)
    ) return false;
  }
  return true;
}

/**
 * The functions that this process runs: who answers, and the revisions that do. Whoever changes something of a function holds
 * its lock; requests look at one moment's state, and hold the recipe that they take in the same turn of the event loop.
 */
export class Deployments {
  readonly #parts: DeploymentsParts;
  readonly #live = new Map<string, Live>();
  #uses = 0;
  /** Those that end with the requests that they have. */
  readonly #retiring = new Map<Instances, Promise<void>>();

  constructor(parts: DeploymentsParts) {
    this.#parts = parts;
  }

  route(key: string): Route | undefined {
    return this.#live.get(key)?.route;
  }

  find(key: string, revision: number): Deployment | undefined {
    const live = this.#live.get(key);
    if (live === undefined) return undefined;
    live.used = ++this.#uses;
    return live.revisions.get(revision);
  }

  /** Of what this process runs of a function, the revision with the most traffic. */
  main(key: string): FunctionRecord | undefined {
    const live = this.#live.get(key);
    return live?.revisions.get(live.route.main)?.record;
  }

  /** A revision whose recipe is made. It is nobody's until `move`. */
  deployment(record: FunctionRecord, recipe: Recipe): Deployment {
    const { tasks, refill, protocols, onError } = this.#parts;
    const onRetire = (instances: Instances, retired: Promise<void>) => {
      const gone = retired
        .catch((error) => onError(error, `cannot remove what revision ${record.revision} of ${record.name} had`))
        .finally(() => this.#retiring.delete(instances));
      this.#retiring.set(instances, gone);
    };
    return new Deployment({ tasks, refill, protocols, record, recipe, onError, onRetire });
  }

  /** How many containers live that serve many requests, those included that begin. */
  get instanceCount(): number {
    let count = 0;
    for (const instances of this.#instances()) count += instances.count;
    return count;
  }

  *#instances(): Generator<Instances> {
    for (const { revisions } of this.#live.values()) {
      for (const { instances } of revisions.values()) if (instances !== undefined) yield instances;
    }
    yield* this.#retiring.keys();
  }

  /** Ends all containers that serve many requests at once. */
  killInstances(): void {
    for (const instances of this.#instances()) instances.kill();
  }

  /** Resolves when nothing is left of the containers that were let go of. */
  async retired(): Promise<void> {
    await Promise.all(this.#retiring.values());
  }

  /** Takes up a function that this process has not run yet. */
  know(key: string, record: DeployedFunction): void {
    if (this.#live.has(key)) return;
    this.#live.set(key, { route: new Route(record), revisions: new Map(), used: ++this.#uses });
  }

  /**
   * Makes a revision, and what of it is to be ready where it has traffic.
   * @throws not_found where it is not kept; what `startFailed` says of what cannot be made.
   */
  async load(key: string, of: FunctionRecord, revision: number): Promise<void> {
    const live = this.#live.get(key);
    if (live === undefined || live.revisions.has(revision)) return;
    const record = await requireRevision(this.#parts.store, of, revision);
    try {
      const deployment = await this.#make(record);
      if (live.route.kept.has(revision)) await deployment.warm(heldByRoute(live.route, revision, record));
      live.revisions.set(revision, deployment);
    } catch (error) {
      // It could be made when it was deployed: something of the machine has changed, which is not for a caller to know.
      throw startFailed(error);
    }
  }

  /**
   * Makes ready all that are to answer by a new route, while those before them still do.
   * @throws as `load`, and nothing is left of it; failed_precondition where the containers cannot be had that one is to keep
   * ready which gets more; resource_exhausted where more containers would wait than may.
   */
  async ready(key: string, of: FunctionRecord, route: Route): Promise<readonly Deployment[]> {
    const { store } = this.#parts;
    const answers = this.route(key);
    const deployments: Deployment[] = [];
    try {
      for (const revision of route.named) await requireRevision(store, of, revision);
      for (const revision of route.kept) {
        const there = this.find(key, revision);
        deployments.push(there ?? await this.#remake(await requireRevision(store, of, revision)));
      }
      const held = (of: Route | undefined, { record }: Deployment) => heldByRoute(of, record.revision, record);
      this.checkPrepared(key, deployments.reduce((sum, deployment) => sum + held(route, deployment), 0));
      for (const deployment of deployments) {
        const { revision } = deployment.record;
        const count = held(route, deployment);
        // One that gets less need not be whole: that may be why.
        const moreTraffic = (route.split.get(revision) ?? 0) > (answers?.split.get(revision) ?? 0);
        if (moreTraffic) await deployment.prove("move traffic to", count);
        else if (count > held(answers, deployment)) await deployment.prove("provision", count);
        else await deployment.warm(count);
      }
    } catch (error) {
      for (const deployment of deployments) {
        const { record } = deployment;
        if (this.find(key, record.revision) !== deployment) await deployment.retire();
        else if (answers?.kept.has(record.revision) !== true) await deployment.cool();
        else deployment.keep(heldByRoute(answers, record.revision, record));
      }
      throw error;
    }
    return deployments;
  }

  /**
   * Lets a route decide from now on, and lets go of what gets nothing by it. Requests that run are finished.
   * @param made revisions that are ready; those that have neither traffic nor a tag are let go of too.
   */
  async move(key: string, route: Route, made: readonly Deployment[]): Promise<void> {
    const live = this.#live.get(key) ?? { route, revisions: new Map<number, Deployment>(), used: ++this.#uses };
    for (const deployment of made) live.revisions.set(deployment.record.revision, deployment);
    live.route = route;
    this.#live.set(key, live);
    const idle: Promise<void>[] = [];
    for (const [revision, deployment] of live.revisions) {
      if (route.kept.has(revision)) deployment.keep(heldByRoute(route, revision, deployment.record));
      else if (route.reaches(revision)) idle.push(deployment.cool());
      else {
        live.revisions.delete(revision);
        idle.push(deployment.retire());
      }
    }
    await Promise.all(idle);
  }

  /** Lets go of a function, and of all of its revisions. */
  async remove(key: string): Promise<void> {
    const live = this.#live.get(key);
    this.#live.delete(key);
    await Promise.all(Array.from(live?.revisions.values() ?? [], (deployment) => deployment.retire()));
  }

  /** Functions to let `rest`, those first that were used longest ago: not each time, but some together. */
  get tooMany(): readonly string[] {
    const { maxResting } = this.#parts;
    if (this.#live.size <= maxResting * 1.25) return [];
    const idle = [...this.#live].filter(([, live]) => isIdle(live)).sort(([, one], [, other]) => one.used - other.used);
    return idle.slice(0, this.#live.size - maxResting).map(([key]) => key);
  }

  /** Lets go of a function that nobody calls; its next request makes it again. */
  async rest(key: string): Promise<void> {
    const live = this.#live.get(key);
    if (live !== undefined && isIdle(live)) await this.remove(key);
  }

  /** The functions that are made. */
  get keys(): readonly string[] {
    return [...this.#live.keys()];
  }

  /** @throws resource_exhausted where more would wait than may, of a function beside all others. */
  checkPrepared(key: string, prepared: number): void {
    const { maxPrepared } = this.#parts;
    let others = 0;
    for (const [other, { route, revisions }] of this.#live) {
      if (other === key) continue;
      for (const [revision, { record }] of revisions) others += heldByRoute(route, revision, record);
    }
    if (prepared === 0 || others + prepared <= maxPrepared) return;
    throw new Failure(
      "resource_exhausted",
      `cannot prepare ${prepared} containers: ${others} wait for other functions, and maxPrepared is ${maxPrepared}`,
      { details: { field: "prepared" } },
    );
  }

  /** Makes a revision that was made before. @throws what has changed since, with its name. */
  async #remake(record: FunctionRecord): Promise<Deployment> {
    try {
      return await this.#make(record);
    } catch (error) {
      const code = codeOf(error);
      throw new Failure(
        // What it was deployed with was right then.
        code === "invalid_argument" ? "failed_precondition" : code,
        `cannot move traffic to revision ${revisionName(record.name, record.revision)}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  async #make(record: FunctionRecord): Promise<Deployment> {
    return this.deployment(record, await this.#parts.recipes.make(record.namespace, record.digest, record));
  }
}
