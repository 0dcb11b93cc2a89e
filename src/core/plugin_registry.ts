import type * as v from "valibot";
import { Failure, messageOf } from "./errors.ts";
import { parse } from "./parse.ts";
import {
  type Plugin,
  pluginContract,
  type PluginInfo,
  type PluginKind,
  type PluginState,
  type ProbeContext,
} from "./plugin.ts";

/** One plugin and what became of it. */
interface Entry {
  readonly plugin: Plugin;
  /** `kind/id`. */
  readonly name: string;
  /** Undefined until it has had its turn. */
  state: PluginState | undefined;
  reason: string | undefined;
  /** What it failed with. */
  error: unknown;
  instance: unknown;
}

/**
 * Starts plugins in the order of their requirements and keeps their instances. A plugin that fails is reported, what
 * requires it is skipped, and the others run.
 */
export class PluginRegistry implements AsyncDisposable {
  readonly #entries: readonly Entry[];
  /** Those that run, in the order in which they were created. */
  readonly #running: Entry[] = [];
  #started = false;

  /** @throws already_exists when two plugins have the same kind and id, naming both by their places in the list. */
  constructor(plugins: readonly Plugin[]) {
    const places = new Map<string, number>();
    this.#entries = plugins.map((plugin, index) => {
      const name = `${plugin.kind}/${plugin.id}`;
      const first = places.get(name);
      if (first !== undefined) {
        throw new Failure(
          "already_exists",
          `cannot register plugin ${JSON.stringify(name)}: number ${first + 1} and number ${index + 1} of the list ` +
            "have this kind and id: give one of them another id",
        );
      }
      places.set(name, index);
      return { plugin, name, state: undefined, reason: undefined, error: undefined, instance: undefined };
    });
  }

  /**
   * Probes and creates every plugin, each after what it requires; else in the order of the list.
   *
   * @param settings each plugin's part of the configuration by `kind/id`.
   * @throws invalid_argument, before anything is created, for settings that no plugin takes.
   */
  async start(context: ProbeContext, settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
    if (this.#started) throw new Failure("failed_precondition", "cannot start the plugins: they were started before");
    const configs = this.#parseSettings(settings);
    this.#started = true;
    const waiting = new Set(this.#entries);
    while (waiting.size > 0) {
      const next = waiting.values().find((entry) => !this.#requirements(entry).some((one) => waiting.has(one)));
      if (next === undefined) {
        settleCycle(waiting, (entry) => this.#requirements(entry));
        continue;
      }
      waiting.delete(next);
      await this.#settle(next, context, configs.get(next));
    }
  }

  /**
   * The instance of a plugin.
   * @param id which one of its kind; default the first of the list that runs.
   * @throws failed_precondition when it does not run, saying why; what it failed with has its code where that has one.
   */
  get<T>(kind: PluginKind, id?: string): T {
    const candidates = this.#entries.filter(({ plugin }) =>
      plugin.kind === kind && (id === undefined || plugin.id === id)
    );
    const running = candidates.find(({ state }) => state === "running");
    if (running !== undefined) return running.instance as T;
    const wanted = JSON.stringify(id === undefined ? kind : `${kind}/${id}`);
    const cause = candidates.find(({ error }) => error !== undefined)?.error;
    const code = cause instanceof Failure && candidates.length === 1 ? cause.code : "failed_precondition";
    throw new Failure(code, `cannot use plugin ${wanted}: ${whyNot(candidates)}`, { cause });
  }

  /** The instances of a kind that run, by their ids, in the order of the list. */
  all<T>(kind: PluginKind): ReadonlyMap<string, T> {
    return new Map(
      this.#entries
        .filter(({ plugin, state }) => plugin.kind === kind && state === "running")
        .map(({ plugin, instance }) => [plugin.id, instance as T]),
    );
  }

  /** Every plugin with its state, in the order of the list. */
  list(): readonly PluginInfo[] {
    return this.#entries.map(({ plugin, state, reason }) => ({
      kind: plugin.kind,
      id: plugin.id,
      state: state ?? "skipped",
      reason: state === undefined ? "it was not started yet" : reason,
      requires: plugin.requires ?? [],
    }));
  }

  /**
   * Disposes of the instances that can be, in the reverse order of their creation. One that fails does not keep the others
   * from it.
   * @throws what the first failing one threw.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await using stack = new AsyncDisposableStack();
    for (const entry of this.#running.splice(0)) {
      entry.state = "skipped";
      entry.reason = "it was stopped";
      stack.defer(() => dispose(entry.instance));
    }
  }

  async #settle(entry: Entry, context: ProbeContext, config: unknown): Promise<void> {
    const { plugin } = entry;
    if (plugin.contract !== pluginContract) {
      return end(entry, "failed", `it was built for contract ${plugin.contract}, this program has ${pluginContract}`);
    }
    const missing = this.#missing(plugin);
    if (missing !== undefined) return end(entry, "skipped", missing);
    try {
      const availability = await plugin.probe?.(context) ?? { available: true };
      if (!availability.available) return end(entry, "unavailable", availability.reason);
      entry.instance = await plugin.create({
        ...context,
        config,
        get: <T>(kind: PluginKind, id?: string) => this.#getRequired<T>(plugin, kind, id),
      });
      this.#running.push(entry);
      end(entry, "running", availability.note);
    } catch (error) {
      entry.error = error;
      end(entry, "failed", messageOf(error));
    }
  }

  /** Why a plugin's requirements are not met; undefined where they are. */
  #missing(plugin: Plugin): string | undefined {
    for (const requirement of plugin.requires ?? []) {
      const candidates = this.#matching(requirement);
      if (!candidates.some(({ state }) => state === "running")) {
        return `it requires ${JSON.stringify(requirement)}: ${whyNot(candidates)}`;
      }
    }
    return undefined;
  }

  /** What `create` gets. Only what was required is sure to be there, so nothing else is given. */
  #getRequired<T>(plugin: Plugin, kind: PluginKind, id: string | undefined): T {
    const requires = plugin.requires ?? [];
    if (requires.includes(kind) || (id !== undefined && requires.includes(`${kind}/${id}`))) {
      return this.get<T>(kind, id);
    }
    const wanted = id === undefined ? kind : `${kind}/${id}`;
    throw new Failure(
      "failed_precondition",
      `plugin "${plugin.kind}/${plugin.id}" cannot use ${JSON.stringify(wanted)}: it does not stand in its requires`,
    );
  }

  #requirements({ plugin }: Entry): readonly Entry[] {
    return (plugin.requires ?? []).flatMap((requirement) => this.#matching(requirement));
  }

  #matching(requirement: string): readonly Entry[] {
    return this.#entries.filter(({ plugin, name }) => name === requirement || plugin.kind === requirement);
  }

  #parseSettings(settings: Readonly<Record<string, unknown>>): ReadonlyMap<Entry, unknown> {
    const names = new Set(this.#entries.map(({ name }) => name));
    const unknown = Object.keys(settings).find((name) => !names.has(name));
    if (unknown !== undefined) {
      throw new Failure(
        "invalid_argument",
        `cannot configure plugin ${JSON.stringify(unknown)}: there is none of this kind and id: there are ${
          [...names].join(", ")
        }`,
      );
    }
    return new Map(this.#entries.map((entry) => [entry, parseConfig(entry, settings[entry.name])]));
  }
}

/** A field that the schema does not declare is a mistake of the one who wrote it, whatever the schema makes of it. */
function parseConfig({ plugin, name }: Entry, given: unknown = {}): unknown {
  const action = `cannot configure plugin ${JSON.stringify(name)}`;
  const schema: v.GenericSchema | undefined = plugin.config;
  const known = schema === undefined ? {} : "entries" in schema ? schema.entries : undefined;
  if (typeof known === "object" && known !== null && typeof given === "object" && given !== null) {
    const unknown = Object.keys(given).find((key) => !(key in known));
    if (unknown !== undefined) {
      const names = Object.keys(known).join(", ");
      throw new Failure(
        "invalid_argument",
        `${action}: unknown field ${JSON.stringify(unknown)}: ${
          names === "" ? "it has no settings" : `it has ${names}`
        }`,
        { details: { field: unknown } },
      );
    }
  }
  return schema === undefined ? {} : parse(schema, given, action);
}

/** Ends the plugins of one cycle, so that the rest can go on. */
function settleCycle(waiting: Set<Entry>, requirementsOf: (entry: Entry) => readonly Entry[]): void {
  const path: Entry[] = [];
  let at = waiting.values().next().value;
  while (at !== undefined && !path.includes(at)) {
    path.push(at);
    at = requirementsOf(at).find((one) => waiting.has(one));
  }
  const cycle = at === undefined ? path : path.slice(path.indexOf(at));
  const names = [...cycle, ...cycle.slice(0, 1)].map(({ name }) => name).join(" → ");
  for (const entry of cycle) {
    waiting.delete(entry);
    end(entry, "failed", `it requires itself: ${names}`);
  }
}

function whyNot(candidates: readonly Entry[]): string {
  if (candidates.length === 0) return "no such plugin is listed";
  return candidates
    .map(({ name, state, reason }) =>
      `${name} is ${state ?? "not started"}${reason === undefined ? "" : ` (${reason})`}`
    )
    .join("; ");
}

function end(entry: Entry, state: PluginState, reason: string | undefined): void {
  entry.state = state;
  entry.reason = reason;
}

async function dispose(instance: unknown): Promise<void> {
  if (typeof instance !== "object" || instance === null) return;
  if (Symbol.asyncDispose in instance) await (instance as AsyncDisposable)[Symbol.asyncDispose]();
  else if (Symbol.dispose in instance) (instance as Disposable)[Symbol.dispose]();
}
