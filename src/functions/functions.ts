import { Failure } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import { type DeployedFunction, FunctionInputSchema, type FunctionRecord } from "../core/function.ts";
import type { Invocation } from "../core/invocation.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Monitor } from "../core/monitor.ts";
import { parse } from "../core/parse.ts";
import { type RevisionInfo, revisionName } from "../core/revision.ts";
import type { Task } from "../core/task.ts";
import type { ContainerRun } from "../tasks/container_run.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { Admission } from "./admission.ts";
import { admitted, type Deployment, heldByRoute, type Protocols } from "./deployment.ts";
import { Deployments } from "./deployments.ts";
import { bodyTooLarge } from "./failures.ts";
import { Ingress } from "./ingress.ts";
import { InvocationIds } from "./invocation_ids.ts";
import { InvocationRun } from "./invoke.ts";
import { askedRevision, keyOf, mainRevision, requireFunction, requireRevision, unknownFunction } from "./known.ts";
import type { Recipes } from "./recipes.ts";
import { Refill } from "./refill.ts";
import type { InvocationRequest } from "./request.ts";
import { type DeployOptions, Rollouts } from "./rollouts.ts";
import { revisionHeader, Route } from "./route.ts";
import type { Secrets } from "./secrets.ts";
import { ServedRun } from "./served.ts";
import { YoungInvocations } from "./young_invocations.ts";

export interface FunctionsParts {
  readonly recipes: Recipes;
  readonly secrets: Secrets;
  readonly tasks: Tasks;
  readonly metadata: Pick<Metadata, "functions" | "invocations">;
  readonly monitor: Monitor;
  readonly events: Events;
  /** How many invocations may run at once over all functions. */
  readonly maxConcurrency: number;
  /** How many in a namespace, by its name. @see AdmissionOptions */
  readonly namespaceConcurrency: Readonly<Record<string, number>>;
  readonly protocols: Protocols;
  /** How many containers may wait for requests, over all functions. */
  readonly maxPrepared: number;
  /** How many functions stay made while nobody calls them. */
  readonly maxResting: number;
  /** How many revisions of a function are kept, beside those that have traffic or a tag. */
  readonly keepRevisions: number;
  /** Told what fails behind an answer, so that it is logged. */
  readonly onError: (error: unknown, what: string) => void;
}

type Run = InvocationRun | ServedRun;

/** Functions: named recipes that turn requests into containers. */
export class Functions {
  /** What changes who answers. */
  readonly rollouts: Rollouts;
  readonly #parts: FunctionsParts;
  readonly #recipes: Recipes;
  readonly #admission: Admission;
  readonly #ids = new InvocationIds();
  /** What lets requests through, those that are run later too. */
  readonly ingress = new Ingress();
  readonly #locks = new KeyedLock();
  readonly #deployments: Deployments;
  readonly #running = new Map<string, Run>();
  readonly #young = new YoungInvocations();
  readonly #counts = new Map<string, number>();
  readonly #refill: Refill;

  constructor(parts: FunctionsParts) {
    this.#parts = parts;
    this.#recipes = parts.recipes;
    this.#admission = new Admission({ limit: parts.maxConcurrency, namespaces: parts.namespaceConcurrency });
    this.#refill = new Refill({
      busy: () => this.#running.size > 0,
      limit: parts.maxPrepared,
      onError: parts.onError,
    });
    this.#deployments = new Deployments({ ...parts, store: parts.metadata.functions, refill: this.#refill });
    this.rollouts = new Rollouts({
      ...parts,
      locks: this.#locks,
      deployments: this.#deployments,
      admission: this.#admission,
    });
  }

  /** As `Rollouts.deploy`. */
  async deploy(
    namespace: string,
    name: string,
    input: unknown,
    options?: DeployOptions,
  ): Promise<DeployedFunction> {
    const record = await this.rollouts.deploy(namespace, name, input, options);
    this.#rest();
    return record;
  }

  /** The revisions of a function that are kept, the newest first. @throws not_found. */
  async revisions(namespace: string, name: string): Promise<readonly RevisionInfo[]> {
    const route = new Route(await this.get(namespace, name));
    const kept = await this.#parts.metadata.functions.revisions(namespace, name);
    return kept.map((record) => ({
      ...record,
      id: revisionName(name, record.revision),
      percent: route.split.get(record.revision) ?? 0,
      tags: [...route.tags].filter(([, revision]) => revision === record.revision).map(([tag]) => tag),
    }));
  }

  /**
   * The revision whose settings hold for a request that is to run later: the one that it asks for, or that has the most
   * traffic.
   * @throws not_found.
   */
  async answering(
    namespace: string,
    name: string,
    request?: Pick<InvocationRequest, "headers" | "identify">,
  ): Promise<FunctionRecord> {
    const { functions } = this.#parts.metadata;
    const live = request === undefined ? this.#deployments.main(keyOf(namespace, name)) : undefined;
    if (live !== undefined) return live;
    const record = await this.get(namespace, name);
    const asked = request && await askedRevision(record, new Route(record), request);
    return asked === undefined
      ? await mainRevision(functions, record)
      : await requireRevision(functions, record, asked);
  }

  /** @throws not_found. */
  get(namespace: string, name: string): Promise<DeployedFunction> {
    return requireFunction(this.#parts.metadata.functions, namespace, name);
  }

  list(namespace: string): Promise<readonly DeployedFunction[]> {
    return this.#parts.metadata.functions.list(namespace);
  }

  /** Removes a function; what runs is finished. @throws not_found. */
  async delete(namespace: string, name: string): Promise<void> {
    const key = keyOf(namespace, name);
    await this.#locks.hold(key, async () => {
      const there = await this.#parts.metadata.functions.delete(namespace, name);
      this.#admission.keep(key, 0);
      this.#counts.delete(key);
      await this.#deployments.remove(key);
      this.ingress.forget({ namespace, name });
      if (!there) throw unknownFunction(namespace, name);
      this.#parts.events.publish("/functions/delete", namespace, { name });
    });
  }

  /**
   * Runs a request in a fresh container, or has it answered by one that serves many.
   * @returns the answer, when its head may leave.
   * @throws not_found; unauthenticated, permission_denied where it wants a token; resource_exhausted when too many run or
   * come; unavailable while draining; what `failures.ts` lists.
   */
  async invoke(namespace: string, name: string, asked: InvocationRequest): Promise<Response> {
    this.#admission.requireOpen();
    const key = keyOf(namespace, name);
    const { record, recipe, prepared, instances } = await this.#hold(namespace, name, asked);
    let request = asked;
    const length = Number(asked.headers.get("content-length"));
    try {
      if (record.auth !== "none" || record.rate !== undefined) request = await this.ingress.admit(record, asked);
      if (record.maxBodyBytes > 0 && length > record.maxBodyBytes) throw bodyTooLarge(record.maxBodyBytes);
      this.#admission.enter({ namespace, key }, admitted(record));
    } catch (error) {
      this.#parts.monitor.invocation(rejection(record));
      await recipe.leave();
      throw error;
    }
    const id = this.#ids.next();
    const { tasks, monitor } = this.#parts;
    const options = { id, record, recipe, request, monitor, young: this.#young };
    const run = instances === undefined
      ? new InvocationRun({ ...options, tasks, prepared })
      : new ServedRun({ ...options, instances });
    this.#young.add(run.answer);
    this.#running.set(id, run);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.#finish(key, run);
    return await run.answer;
  }

  /**
   * Runs a container once, as a function's would be, with its three streams given to the caller.
   * @param input as for `deploy`; its concurrency, body limit, content type and labels have no meaning here.
   * @throws as `deploy`; what making or starting the container throws.
   */
  async run(
    namespace: string,
    input: unknown,
    options: { readonly stdin: boolean; readonly signal: AbortSignal; readonly attach: (task: Task) => void },
  ): Promise<ContainerRun> {
    this.#admission.requireOpen();
    const parsed = parse(FunctionInputSchema, input, "cannot run a container");
    const settings = { ...parsed, mounts: await this.#recipes.pin(namespace, parsed.mounts) };
    if (settings.secrets.length > 0) {
      throw new Failure("invalid_argument", "cannot run a container with secrets: they are for functions, deploy one", {
        details: { field: "secrets" },
      });
    }
    const digest = await this.#recipes.resolve(namespace, settings.image, { restore: settings.restore });
    using checkpoint = settings.restore ? await this.#recipes.checkpoint(digest) : undefined;
    const ingredients = await this.#recipes.gather(namespace, digest, settings);
    return await this.#parts.tasks.run({
      ...ingredients,
      volumes: await this.#recipes.volumes(namespace, ingredients.snapshotter, settings),
      namespace,
      image: settings.image,
      settings,
      stdio: { stdin: options.stdin },
      checkpoint: checkpoint?.folder,
      signal: options.signal,
      attach: options.attach,
    });
  }

  /** Sees an invocation to its end. It never rejects: `#running` is its owner. */
  async #finish(key: string, run: Run): Promise<void> {
    const { id, recipe } = run.options;
    try {
      await run.done;
    } catch (error) {
      this.#parts.onError(error, `cannot clean up behind invocation ${id}`);
    }
    this.#admission.leave({ namespace: run.options.record.namespace, key });
    this.#parts.metadata.invocations.put(run.record());
    this.#running.delete(id);
    this.#refill.schedule();
    try {
      await recipe.leave();
    } catch (error) {
      this.#parts.onError(error, `cannot remove the view of an image that no function uses any more`);
    }
  }

  /** Resolves when nothing is left of an invocation: its place is another's then. */
  async gone(id: string): Promise<void> {
    await this.#running.get(id)?.done.catch(() => {});
  }

  /** The record of an invocation. One whose outcome is known is waited for, so that its record is whole. @throws not_found. */
  async invocation(namespace: string, id: string): Promise<Invocation> {
    const run = this.#running.get(id);
    if (run !== undefined && run.options.record.namespace === namespace) {
      if (run.durationMs === undefined) return run.record();
      await run.done.catch(() => {});
    }
    const record = await this.#parts.metadata.invocations.get(namespace, id) ?? run?.record();
    if (record === undefined) {
      throw new Failure(
        "not_found",
        `no invocation ${JSON.stringify(id)} is known in namespace ${JSON.stringify(namespace)}: ` +
          "its id may be mistyped, or its record no longer kept",
      );
    }
    return record;
  }

  /** Invocations, the newest first; those that run now before those that have ended. */
  async invocations(
    namespace: string,
    options: { readonly function?: string; readonly limit: number },
  ): Promise<readonly Invocation[]> {
    const now = this.running(namespace)
      .map((run) => run.record())
      .filter((record) => options.function === undefined || record.function === options.function);
    const ended = await this.#parts.metadata.invocations.list(namespace, options);
    const ids = new Set(ended.map((record) => record.id));
    return [...now.filter((record) => !ids.has(record.id)).reverse(), ...ended].slice(0, options.limit);
  }

  /** How many invocations of a function have begun in this process. */
  invocationCount(namespace: string, name: string): number {
    return this.#counts.get(keyOf(namespace, name)) ?? 0;
  }

  /** How many requests there are containers of a revision for, before they come. */
  readyFor(namespace: string, name: string, revision: number): number {
    return this.#deployments.find(keyOf(namespace, name), revision)?.readyFor ?? 0;
  }

  /** The places that all functions share, and how many of them are kept for some. */
  get places(): { readonly all: number; readonly kept: number } {
    return { all: this.#parts.maxConcurrency, kept: this.#admission.keptSum };
  }

  /** How many invocations run, over all namespaces. */
  get runningCount(): number {
    return this.#running.size;
  }

  /** How many functions are made: called lately, or with containers that wait. */
  get madeCount(): number {
    return this.#deployments.keys.length;
  }

  /** How many containers live that serve many requests, those included that begin. */
  get instanceCount(): number {
    return this.#deployments.instanceCount;
  }

  /** The invocations that run in a namespace. */
  running(namespace: string): readonly Run[] {
    return [...this.#running.values()].filter((run) => run.options.record.namespace === namespace);
  }

  /**
   * Takes nothing new and waits for what runs: each has its own deadline.
   * @param signal ends the waiting: what still runs is killed, and answered as unavailable.
   */
  async drain(signal?: AbortSignal): Promise<void> {
    this.#admission.close();
    const kill = () => {
      for (const run of this.#running.values()) run.stop(shutDown());
      this.#deployments.killInstances();
    };
    if (signal?.aborted) kill();
    signal?.addEventListener("abort", kill);
    try {
      while (this.#running.size > 0) {
        await Promise.allSettled(Array.from(this.#running.values(), (run) => run.done));
      }
      for (const key of this.#deployments.keys) await this.#locks.hold(key, () => this.#deployments.remove(key));
      await this.#deployments.retired();
    } finally {
      signal?.removeEventListener("abort", kill);
    }
  }

  /** Makes what is to be ready before the first request, in the background of the start. */
  async warm(): Promise<void> {
    const { functions } = this.#parts.metadata;
    for await (const record of functions.all()) {
      const { namespace, name } = record;
      try {
        if ((await mainRevision(functions, record)).reservedConcurrency > 0) await this.#keepPlaces(namespace, name);
      } catch (error) {
        this.#parts.onError(error, `cannot keep places for function ${name}`);
      }
    }
    for await (const record of functions.all()) {
      const { namespace, name } = record;
      try {
        const route = new Route(record);
        for (const revision of route.kept) {
          const its = revision === record.revision ? record : await functions.revision(namespace, name, revision);
          if (its === undefined || heldByRoute(route, revision, its) === 0) continue;
          this.#admission.requireOpen();
          await this.#load(namespace, name, revision);
        }
      } catch (error) {
        this.#parts.onError(error, `cannot prepare containers of function ${name}`);
      }
    }
  }

  /** Keeps the places that a function reserves. It may be another one since it was read. */
  #keepPlaces(namespace: string, name: string): Promise<void> {
    const key = keyOf(namespace, name);
    const { functions } = this.#parts.metadata;
    return this.#locks.hold(key, async () => {
      const record = await functions.get(namespace, name);
      if (record === undefined) return;
      this.#admission.keep(key, (await mainRevision(functions, record)).reservedConcurrency);
    });
  }

  /** Holds the recipe of the revision that answers a request; `leave` ends it. */
  async #hold(namespace: string, name: string, request: InvocationRequest): Promise<Deployment> {
    const key = keyOf(namespace, name);
    let route: Route | undefined;
    let revision = 0;
    while (true) {
      const now = this.#deployments.route(key);
      if (now !== undefined && now !== route) {
        route = now;
        if (request.headers.has(revisionHeader)) {
          revision = await askedRevision({ namespace, name }, route, request) ?? revision;
          // Another may decide by now.
          continue;
        }
        revision = route.next();
      }
      const deployment = this.#deployments.find(key, revision);
      if (deployment !== undefined) {
        // In the turn in which it was found: no roll-out lets go of it in between.
        deployment.recipe.enter();
        return deployment;
      }
      await this.#load(namespace, name, route && revision);
      this.#rest();
    }
  }

  /** Lets go of what nobody has called for long, where it is much. */
  #rest(): void {
    for (const key of this.#deployments.tooMany) {
      this.#locks.hold(key, () => this.#deployments.rest(key)).catch((error) => {
        this.#parts.onError(error, `cannot let go of function ${key}`);
      });
    }
  }

  /** Takes up a function that this process has not run yet, and a revision of it. */
  #load(namespace: string, name: string, revision: number | undefined): Promise<void> {
    const key = keyOf(namespace, name);
    return this.#locks.hold(key, async () => {
      this.#admission.requireOpen();
      const record = await this.get(namespace, name);
      this.#deployments.know(key, record);
      if (revision !== undefined) await this.#deployments.load(key, record, revision);
    });
  }
}

function shutDown(): Failure {
  return new Failure("unavailable", "the function was killed: the daemon is shutting down", {
    details: { retryAfterSeconds: 5 },
  });
}

function rejection(record: FunctionRecord): Parameters<Monitor["invocation"]>[0] {
  return {
    namespace: record.namespace,
    function: record.name,
    outcome: "rejected",
    durationMs: 0,
    startMs: undefined,
    start: undefined,
    cpuMicros: undefined,
    memoryPeakBytes: undefined,
    ioReadBytes: undefined,
    ioWriteBytes: undefined,
    networkReceivedBytes: undefined,
    networkSentBytes: undefined,
  };
}
