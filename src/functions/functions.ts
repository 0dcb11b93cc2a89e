import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import { FunctionInputSchema, type FunctionRecord, type FunctionSettings, NameSchema } from "../core/function.ts";
import type { Invocation } from "../core/invocation.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Monitor, Span, Traced } from "../core/monitor.ts";
import { parse } from "../core/parse.ts";
import type { Task } from "../core/task.ts";
import { observed, step } from "../monitoring/observe.ts";
import type { ContainerRun } from "../tasks/container_run.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { Admission } from "./admission.ts";
import { entitled } from "./entitled.ts";
import { bodyTooLarge, startFailed } from "./failures.ts";
import { InvocationIds } from "./invocation_ids.ts";
import { InvocationRun } from "./invoke.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import { Prepared } from "./prepared.ts";
import type { Recipe } from "./recipe.ts";
import type { Recipes } from "./recipes.ts";
import { checkSchedules } from "./schedules.ts";
import type { Secrets } from "./secrets.ts";
import { Refill } from "./refill.ts";
import type { InvocationRequest } from "./request.ts";

export interface FunctionsParts {
  readonly recipes: Recipes;
  readonly secrets: Secrets;
  readonly tasks: Tasks;
  readonly metadata: Pick<Metadata, "functions" | "invocations">;
  readonly monitor: Monitor;
  readonly events: Events;
  /** How many invocations may run at once over all functions. */
  readonly maxConcurrency: number;
  /** How many containers may wait for requests, over all functions. */
  readonly maxPrepared: number;
  /** Told what fails behind an answer, so that it is logged. */
  readonly onError: (error: unknown, what: string) => void;
}

/** The settings of a record, without what else is in it. */
export const SettingsSchema = v.object(FunctionInputSchema.entries);

interface Deployment {
  readonly record: FunctionRecord;
  readonly recipe: Recipe;
  readonly prepared: Prepared | undefined;
  /** Lets go of what waits, and of the recipe when its last invocation has. */
  retire(): Promise<void>;
}

/** Functions: named recipes that turn requests into containers. */
export class Functions {
  readonly #parts: FunctionsParts;
  readonly #recipes: Recipes;
  readonly #admission: Admission;
  readonly #ids = new InvocationIds();
  readonly #locks = new KeyedLock();
  readonly #deployments = new Map<string, Deployment>();
  readonly #running = new Map<string, InvocationRun>();
  readonly #refill: Refill;

  constructor(parts: FunctionsParts) {
    this.#parts = parts;
    this.#recipes = parts.recipes;
    this.#admission = new Admission(parts.maxConcurrency);
    this.#refill = new Refill({ busy: () => this.#running.size > 0, onError: parts.onError });
  }

  /**
   * Creates a function, or replaces it; what runs goes on with the revision it began with.
   * @throws invalid_argument for a wrong name or field; what pulling and unpacking the image throw.
   */
  async deploy(namespace: string, name: string, input: unknown, { parent }: Traced = {}): Promise<FunctionRecord> {
    const action = `cannot deploy function ${JSON.stringify(name)}`;
    parse(NameSchema, namespace, `${action}: namespace`);
    parse(NameSchema, name, action);
    const settings = parse(FunctionInputSchema, input, action);
    checkSchedules(settings.schedules);
    const attributes = { "faas.name": name, "mayfly.namespace": namespace, "container.image.name": settings.image };
    const observe = { operation: "deploy", parent, attributes } as const;
    return await observed(this.#parts.monitor, observe, (span) => this.#deploy(namespace, name, settings, span));
  }

  async #deploy(
    namespace: string,
    name: string,
    settings: FunctionSettings,
    span: Span | undefined,
  ): Promise<FunctionRecord> {
    return await this.#locks.hold(keyOf(namespace, name), async () => {
      const image = this.#recipes.imageName(settings.image);
      const digest = await this.#recipes.resolve(namespace, image, { parent: span, restore: settings.restore });
      return await this.#put(namespace, name, { settings: { ...settings, image }, digest, span });
    });
  }

  /**
   * Deploys a function again where its image's name points at another manifest than it runs; nothing is pulled.
   * @returns undefined where there is nothing to do: it does not follow, or is up to date, or is gone.
   * @throws as `deploy`, and it stays as it is.
   */
  async rollForward(namespace: string, name: string): Promise<FunctionRecord | undefined> {
    return await this.#locks.hold(keyOf(namespace, name), async () => {
      const record = await this.#parts.metadata.functions.get(namespace, name);
      if (record?.follow !== true) return undefined;
      const digest = await this.#recipes.resolveHere(namespace, record.image, record.restore);
      if (digest === undefined || digest === record.digest) return undefined;
      const settings = parse(SettingsSchema, record, `cannot deploy function ${JSON.stringify(name)} again`);
      const attributes = { "faas.name": name, "mayfly.namespace": namespace, "container.image.name": record.image };
      return await observed(
        this.#parts.monitor,
        { operation: "deploy", attributes },
        (span) => this.#put(namespace, name, { settings, digest, span }),
      );
    });
  }

  /** Puts a revision in the place of the one that is there. Its function's lock is held. */
  async #put(
    namespace: string,
    name: string,
    { settings, digest, span }: {
      readonly settings: FunctionSettings;
      readonly digest: string;
      readonly span: Span | undefined;
    },
  ): Promise<FunctionRecord> {
    this.#checkPrepared(keyOf(namespace, name), settings.prepared);
    const recipe = await this.#recipes.make(namespace, digest, settings, { parent: span });
    let record: FunctionRecord;
    try {
      record = await step(
        this.#parts.monitor,
        "record",
        { parent: span },
        () =>
          this.#parts.secrets.keep(
            namespace,
            settings.secrets,
            () => this.#parts.metadata.functions.put({ ...settings, namespace, name, digest }),
          ),
      );
    } catch (error) {
      await recipe.leave();
      throw error;
    }
    await this.#replace(keyOf(namespace, name), await this.#deployment(record, recipe));
    const topic = record.revision === 1 ? "/functions/create" : "/functions/update";
    this.#parts.events.publish(topic, namespace, { name, digest, revision: record.revision });
    return record;
  }

  /** @throws not_found. */
  async get(namespace: string, name: string): Promise<FunctionRecord> {
    const record = await this.#parts.metadata.functions.get(namespace, name);
    if (record === undefined) throw unknown(namespace, name);
    return record;
  }

  list(namespace: string): Promise<readonly FunctionRecord[]> {
    return this.#parts.metadata.functions.list(namespace);
  }

  /** Removes a function; what runs is finished. @throws not_found. */
  async delete(namespace: string, name: string): Promise<void> {
    const key = keyOf(namespace, name);
    await this.#locks.hold(key, async () => {
      const there = await this.#parts.metadata.functions.delete(namespace, name);
      await this.#replace(key, undefined);
      if (!there) throw unknown(namespace, name);
      this.#parts.events.publish("/functions/delete", namespace, { name });
    });
  }

  /**
   * Runs a request in a fresh container.
   * @returns the answer, when its head may leave.
   * @throws not_found; unauthenticated, permission_denied where it wants a token; resource_exhausted when too many run; unavailable while draining; what `failures.ts` lists.
   */
  async invoke(namespace: string, name: string, asked: InvocationRequest): Promise<Response> {
    this.#admission.requireOpen();
    const key = keyOf(namespace, name);
    const { record, recipe, prepared } = this.#deployments.get(key) ?? await this.#load(namespace, name);
    const request = record.auth === "none" ? asked : await entitled(record, asked);
    const length = Number(request.headers.get("content-length"));
    try {
      if (record.maxBodyBytes > 0 && length > record.maxBodyBytes) throw bodyTooLarge(record.maxBodyBytes);
      this.#admission.enter(key, record.concurrency);
    } catch (error) {
      this.#parts.monitor.invocation(rejection(record));
      throw error;
    }
    recipe.enter();
    const id = this.#ids.next();
    const { tasks, monitor } = this.#parts;
    const run = new InvocationRun({ id, record, recipe, request, tasks, monitor, prepared });
    this.#running.set(id, run);
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
    const settings = parse(FunctionInputSchema, input, "cannot run a container");
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
  async #finish(key: string, run: InvocationRun): Promise<void> {
    const { id, recipe } = run.options;
    try {
      await run.done;
    } catch (error) {
      this.#parts.onError(error, `cannot clean up behind invocation ${id}`);
    }
    this.#admission.leave(key);
    this.#parts.metadata.invocations.put(run.record());
    this.#running.delete(id);
    this.#refill.schedule();
    try {
      await recipe.leave();
    } catch (error) {
      this.#parts.onError(error, `cannot remove the view of an image that no function uses any more`);
    }
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

  /** How many invocations run, over all namespaces. */
  get runningCount(): number {
    return this.#running.size;
  }

  /** The invocations that run in a namespace. */
  running(namespace: string): readonly InvocationRun[] {
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
    };
    if (signal?.aborted) kill();
    signal?.addEventListener("abort", kill);
    try {
      while (this.#running.size > 0) {
        await Promise.allSettled(Array.from(this.#running.values(), (run) => run.done));
      }
    } finally {
      signal?.removeEventListener("abort", kill);
    }
    for (const [key] of [...this.#deployments]) {
      await this.#locks.hold(key, () => this.#replace(key, undefined));
    }
  }

  /** Makes what is to be ready before the first request, in the background of the start. */
  async warm(): Promise<void> {
    for (const { namespace, name, prepared } of await this.#parts.metadata.functions.all()) {
      if (prepared === 0) continue;
      try {
        this.#admission.requireOpen();
        await this.#load(namespace, name);
      } catch (error) {
        this.#parts.onError(error, `cannot prepare containers of function ${name}`);
      }
    }
  }

  /** Makes the recipe of a function that this process has not run yet. */
  #load(namespace: string, name: string): Promise<Deployment> {
    const key = keyOf(namespace, name);
    return this.#locks.hold(key, async () => {
      const there = this.#deployments.get(key);
      if (there !== undefined) return there;
      const record = await this.get(namespace, name);
      try {
        const recipe = await this.#recipes.make(namespace, record.digest, record);
        const deployment = await this.#deployment(record, recipe);
        await this.#replace(key, deployment);
        return deployment;
      } catch (error) {
        // It could be made when it was deployed: something of the machine has changed, which is not for a caller to know.
        throw startFailed(error);
      }
    });
  }

  /** @throws resource_exhausted where more would wait than may. */
  #checkPrepared(key: string, prepared: number): void {
    const { maxPrepared } = this.#parts;
    let others = 0;
    for (const [other, { record }] of this.#deployments) if (other !== key) others += record.prepared;
    if (prepared === 0 || others + prepared <= maxPrepared) return;
    throw new Failure(
      "resource_exhausted",
      `cannot prepare ${prepared} containers: ${others} wait for other functions, and maxPrepared is ${maxPrepared}`,
      { details: { field: "prepared" } },
    );
  }

  /** All containers that are to wait are ready before a request comes to them. */
  async #deployment(record: FunctionRecord, recipe: Recipe): Promise<Deployment> {
    if (record.prepared === 0) return { record, recipe, prepared: undefined, retire: () => recipe.leave() };
    const prepared = new Prepared({ tasks: this.#parts.tasks, record, recipe, onError: this.#parts.onError });
    try {
      while (prepared.missing > 0) await prepared.add();
    } catch (error) {
      // Requests make their own then, and say why where they cannot either.
      this.#parts.onError(error, `cannot prepare containers of function ${record.name}`);
    }
    const forget = this.#refill.add(prepared);
    const retire = async () => {
      forget();
      await prepared[Symbol.asyncDispose]();
      await recipe.leave();
    };
    return { record, recipe, prepared, retire };
  }

  async #replace(key: string, deployment: Deployment | undefined): Promise<void> {
    const before = this.#deployments.get(key);
    if (deployment === undefined) this.#deployments.delete(key);
    else this.#deployments.set(key, deployment);
    await before?.retire();
  }
}

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function unknown(namespace: string, name: string): Failure {
  return new Failure(
    "not_found",
    `no function ${JSON.stringify(name)} is deployed in namespace ${JSON.stringify(namespace)}`,
  );
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
    cold: false,
    cpuMicros: undefined,
    memoryPeakBytes: undefined,
    ioReadBytes: undefined,
    ioWriteBytes: undefined,
    networkReceivedBytes: undefined,
    networkSentBytes: undefined,
  };
}
