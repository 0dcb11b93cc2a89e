import { Failure } from "../core/errors.ts";
import type { Events } from "../core/event.ts";
import {
  type DeployedFunction,
  FunctionInputSchema,
  type FunctionRecord,
  type FunctionSettings,
  lastingAnnotations,
  NameSchema,
  SettingsSchema,
} from "../core/function.ts";
import type { KeyedLock } from "../core/keyed_lock.ts";
import type { Metadata } from "../core/metadata.ts";
import type { Monitor, Span, Traced } from "../core/monitor.ts";
import { parse } from "../core/parse.ts";
import {
  allToLatest,
  changed,
  pinned,
  revisionName,
  TagSchema,
  type Traffic,
  type TrafficChange,
} from "../core/revision.ts";
import { observed, step } from "../monitoring/observe.ts";
import type { Admission } from "./admission.ts";
import { type Deployment, heldByRoute } from "./deployment.ts";
import type { Deployments } from "./deployments.ts";
import { keyOf, requireFunction } from "./known.ts";
import type { Recipe } from "./recipe.ts";
import type { Recipes } from "./recipes.ts";
import { Route } from "./route.ts";
import { checkSchedules } from "./timetable.ts";
import type { Secrets } from "./secrets.ts";

export interface RolloutsParts {
  readonly recipes: Recipes;
  readonly secrets: Secrets;
  readonly metadata: Pick<Metadata, "functions">;
  readonly monitor: Monitor;
  readonly events: Events;
  /** How many revisions of a function are kept, beside those that have traffic or a tag. */
  readonly keepRevisions: number;
  /** Held by key while something of a function changes. */
  readonly locks: KeyedLock;
  readonly deployments: Deployments;
  readonly admission: Admission;
}

/** What a deployment does beside making a revision. */
export interface DeployOptions extends Traced {
  /** Whether the traffic that goes to the newest revision goes to this one. Default true. */
  readonly traffic?: boolean;
  /** A name to reach the new revision by. */
  readonly tag?: string | undefined;
}

/** What a revision is made of. */
interface Made {
  readonly settings: FunctionSettings;
  readonly digest: string;
  readonly span: Span | undefined;
  readonly traffic?: boolean;
  readonly tag?: string | undefined;
}

/** Changes who answers: makes revisions, and moves traffic between them. */
export class Rollouts {
  readonly #parts: RolloutsParts;

  constructor(parts: RolloutsParts) {
    this.#parts = parts;
  }

  /**
   * Makes a revision, and a function with the first one; what runs goes on with the revision it began with.
   * @throws invalid_argument for a wrong name or field; what pulling and unpacking the image throw.
   */
  async deploy(
    namespace: string,
    name: string,
    input: unknown,
    { parent, traffic = true, tag }: DeployOptions = {},
  ): Promise<DeployedFunction> {
    const action = `cannot deploy function ${JSON.stringify(name)}`;
    parse(NameSchema, namespace, `${action}: namespace`);
    parse(NameSchema, name, action);
    if (tag !== undefined) parse(TagSchema, tag, `${action}: tag`);
    const settings = parse(FunctionInputSchema, input, action);
    checkSchedules(settings.schedules);
    const attributes = { "faas.name": name, "mayfly.namespace": namespace, "container.image.name": settings.image };
    return await observed(
      this.#parts.monitor,
      { operation: "deploy", parent, attributes },
      (span) =>
        this.#parts.locks.hold(keyOf(namespace, name), async () => {
          const image = this.#parts.recipes.imageName(settings.image);
          const digest = await this.#parts.recipes.resolve(namespace, image, {
            parent: span,
            restore: settings.restore,
          });
          const mounts = await this.#parts.recipes.pin(namespace, settings.mounts, { parent: span });
          const pinned = { ...settings, image, mounts };
          return await this.#put(namespace, name, { settings: pinned, digest, span, traffic, tag });
        }),
    );
  }

  /**
   * Deploys a function again where its image's name points at another manifest than it runs; nothing is pulled.
   * @returns undefined where there is nothing to do: it does not follow, or is up to date, or is gone.
   * @throws as `deploy`, and it stays as it is.
   */
  async rollForward(namespace: string, name: string): Promise<DeployedFunction | undefined> {
    return await this.#parts.locks.hold(keyOf(namespace, name), async () => {
      const record = await this.#parts.metadata.functions.get(namespace, name);
      if (record?.follow !== true) return undefined;
      const digest = await this.#parts.recipes.resolveHere(namespace, record.image, record.restore);
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

  /** Makes the next revision, and moves traffic to it where that is ready. Its function's lock is held. */
  async #put(namespace: string, name: string, made: Made): Promise<DeployedFunction> {
    const key = keyOf(namespace, name);
    const before = await this.#parts.metadata.functions.get(namespace, name);
    const settings = withLasting(made.settings, before);
    const traffic = made.traffic === false ? withheld(name, before) : undefined;
    // As they will be recorded: the function's lock is held.
    const revision = (before?.revision ?? 0) + 1;
    const then = withTag(traffic ?? before?.traffic ?? allToLatest, made.tag, { name, revision });
    const route = new Route({ name, revision, traffic: then });
    this.#checkPrepared(key, route, settings);
    const places = route.main === revision ? settings.reservedConcurrency : this.#parts.admission.kept(key);
    return await this.#keeping(
      key,
      places,
      () => this.#make(namespace, name, { ...made, settings, revision, route, withheld: traffic }),
    );
  }

  async #make(
    namespace: string,
    name: string,
    { settings, digest, span, tag, revision, route, withheld: traffic }: Made & {
      readonly revision: number;
      /** Who answers then. */
      readonly route: Route;
      /** The traffic in place of what is there, where the revision is to get none. */
      readonly withheld: Traffic | undefined;
    },
  ): Promise<DeployedFunction> {
    const key = keyOf(namespace, name);
    const { keepRevisions: keep, metadata: { functions }, secrets, monitor, events } = this.#parts;
    const recipe = await this.#parts.recipes.make(namespace, digest, settings, { parent: span });
    const now = new Date();
    const next = { ...settings, namespace, name, digest, revision, createdAt: now, updatedAt: now };
    const tried = await this.#tried(next, recipe, heldByRoute(route, revision, settings));
    let record: DeployedFunction;
    try {
      record = await step(monitor, "record", { parent: span }, async () => {
        const record = { ...settings, namespace, name, digest };
        const put = await secrets.keep(namespace, settings.secrets, () => functions.put(record, { traffic, keep }));
        if (tag === undefined) return put;
        return await functions.setTraffic(namespace, name, withTag(put.traffic, tag, put), { keep }) ?? put;
      });
    } catch (error) {
      await (tried?.retire() ?? recipe.leave());
      throw error;
    }
    const answers = new Route(record);
    const deployment = tried ?? this.#parts.deployments.deployment(record, recipe);
    if (answers.kept.has(record.revision)) await deployment.warm(heldByRoute(answers, record.revision, record));
    await this.#parts.deployments.move(key, answers, [deployment]);
    const topic = record.revision === 1 ? "/functions/create" : "/functions/update";
    events.publish(topic, namespace, { name, digest, revision: record.revision });
    return record;
  }

  /**
   * Makes the containers that are to be kept ready, before anything is recorded: where they cannot be, all stays as it is.
   * @param count how many.
   * @returns undefined for a revision that keeps none.
   * @throws failed_precondition; the recipe is let go of then.
   */
  async #tried(record: FunctionRecord, recipe: Recipe, count: number): Promise<Deployment | undefined> {
    if (count === 0) return undefined;
    const deployment = this.#parts.deployments.deployment(record, recipe);
    try {
      await deployment.prove("deploy", count);
      return deployment;
    } catch (error) {
      await deployment.retire();
      throw error;
    }
  }

  /** @throws resource_exhausted where more containers would wait than may, once the next revision has its traffic. */
  #checkPrepared(key: string, route: Route, settings: FunctionSettings): void {
    let prepared = 0;
    for (const revision of route.kept) {
      const record = revision === route.newest ? settings : this.#parts.deployments.find(key, revision)?.record;
      prepared += record === undefined ? 0 : heldByRoute(route, revision, record);
    }
    this.#parts.deployments.checkPrepared(key, prepared);
  }

  /**
   * Says which revisions answer. Those that are to are ready before they do, and no request is lost between them.
   * @throws not_found for a function or revision; invalid_argument; what making a revision's recipe throws, and all stays.
   */
  setTraffic(namespace: string, name: string, traffic: Traffic): Promise<DeployedFunction> {
    // What was published once may be asked for by its number by whoever has written that down.
    const kept = ({ published, provisioned }: Traffic) => ({ split: [], tags: {}, published, provisioned });
    return this.#locked(namespace, name, (before) => changed(kept(before.traffic), traffic, name));
  }

  /** Changes which revisions answer, as is said or decided from what there is. @throws as `setTraffic`. */
  changeTraffic(
    namespace: string,
    name: string,
    change: Partial<TrafficChange> | ((before: DeployedFunction) => Partial<TrafficChange>),
  ): Promise<DeployedFunction> {
    return this.#locked(
      namespace,
      name,
      (before) => changed(before.traffic, typeof change === "function" ? change(before) : change, name),
    );
  }

  /**
   * Gives all traffic to an earlier revision.
   * @param to default the one that had traffic before the newest that has it.
   * @throws as `setTraffic`; failed_precondition where none is before it.
   */
  rollback(namespace: string, name: string, to?: string): Promise<DeployedFunction> {
    return this.#locked(namespace, name, async (before) => {
      const revision = to ?? await this.#revisionBefore(before);
      return changed(before.traffic, { split: [{ revision, percent: 100 }] }, name);
    });
  }

  async #revisionBefore(record: DeployedFunction): Promise<string> {
    const { namespace, name } = record;
    const answering = Math.max(...new Route(record).split.keys());
    const kept = await this.#parts.metadata.functions.revisions(namespace, name);
    const found = kept.find(({ revision, answered }) => answered && revision < answering);
    if (found !== undefined) return revisionName(name, found.revision);
    throw new Failure(
      "failed_precondition",
      `cannot roll back function ${JSON.stringify(name)}: no revision before ${revisionName(name, answering)} ` +
        `that has answered is kept: mayfly revisions ${name} lists those that are`,
    );
  }

  /** Moves traffic as `decide` says, while nothing else of the function changes. */
  #locked(
    namespace: string,
    name: string,
    decide: (before: DeployedFunction) => Traffic | Promise<Traffic>,
  ): Promise<DeployedFunction> {
    return this.#parts.locks.hold(keyOf(namespace, name), async () => {
      const before = await requireFunction(this.#parts.metadata.functions, namespace, name);
      return await this.#move(before, await decide(before));
    });
  }

  /** Keeps places for a function: as many as before and as then, until it is done. @throws as `Admission.keep`. */
  async #keeping<T>(key: string, count: number, work: () => Promise<T>): Promise<T> {
    const { admission } = this.#parts;
    const before = admission.kept(key);
    admission.keep(key, Math.max(before, count));
    let then = before;
    try {
      const result = await work();
      then = count;
      return result;
    } finally {
      admission.keep(key, then);
    }
  }

  async #move(before: DeployedFunction, traffic: Traffic): Promise<DeployedFunction> {
    const { namespace, name } = before;
    const key = keyOf(namespace, name);
    const { keepRevisions: keep, metadata: { functions }, events } = this.#parts;
    this.#parts.deployments.know(key, before);
    const ready = await this.#parts.deployments.ready(key, before, new Route({ ...before, traffic }));
    const { main } = new Route({ ...before, traffic });
    const places = ready.find(({ record }) => record.revision === main)?.record.reservedConcurrency ?? 0;
    let after: DeployedFunction;
    try {
      after = await this.#keeping(
        key,
        places,
        async () => await functions.setTraffic(namespace, name, traffic, { keep }) ?? before,
      );
    } catch (error) {
      await this.#parts.deployments.move(key, new Route(before), ready);
      throw error;
    }
    await this.#parts.deployments.move(key, new Route(after), ready);
    events.publish("/functions/update", namespace, { name, digest: after.digest, revision: after.revision, traffic });
    return after;
  }
}

/** Traffic with a tag for a revision. */
function withTag(
  traffic: Traffic,
  tag: string | undefined,
  { name, revision }: Pick<FunctionRecord, "name" | "revision">,
): Traffic {
  return tag === undefined ? traffic : changed(traffic, { tags: { [tag]: revisionName(name, revision) } }, name);
}

/** Settings with what is the function's for as long as it is there, where they do not say it themselves. */
function withLasting(settings: FunctionSettings, before: FunctionSettings | undefined): FunctionSettings {
  const lasting = lastingAnnotations.flatMap((name) => {
    const value = before?.annotations[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...settings, annotations: { ...Object.fromEntries(lasting), ...settings.annotations } };
}

/** Traffic that does not go to the revision that is made next. @throws failed_precondition for a first one. */
function withheld(name: string, before: DeployedFunction | undefined): Traffic {
  if (before !== undefined) return pinned(before.traffic, name, before.revision);
  throw new Failure(
    "failed_precondition",
    `cannot deploy function ${JSON.stringify(name)} without traffic: there is no revision that has it yet`,
  );
}
