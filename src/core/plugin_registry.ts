import type * as v from "valibot";
import { codeOf, Failure, messageOf } from "./errors.ts";
import { type Logger, silent, withFields } from "./logger.ts";
import { parse } from "./parse.ts";
import {
  type Plugin,
  pluginContract,
  type PluginInfo,
  type PluginKind,
  type PluginState,
  type ProbeContext,
} from "./plugin.ts";
import { guestObject } from "./plugin_guest.ts";
import { parseAvailability, parseInstance } from "./plugin_shapes.ts";
import { withTimeLimit } from "./time_limit.ts";

/** What was found in a module that the configuration names. */
export interface PluginModule {
  /** As the configuration names it. */
  readonly source: string;
  readonly plugins: readonly Plugin[];
  /** Why it, or some of what it exports, cannot be used. */
  readonly problems: readonly unknown[];
}

export interface StartOptions {
  /** Default: nothing is told. */
  readonly log?: Logger;
  /** How long a guest may take to probe, to create, and to be disposed of. Default 30,000. */
  readonly guestLimitMs?: number;
}

const builtIn = "built-in";

/** One plugin and what became of it. */
interface Entry {
  readonly plugin: Plugin;
  /** `kind/id`. */
  readonly name: string;
  /** The module that it came from, or `built-in`. */
  readonly source: string;
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
  readonly #entries: Entry[];
  /** Those that run, in the order in which they were created. */
  readonly #running: Entry[] = [];
  readonly #modules: readonly PluginModule[];
  #log: Logger = silent;
  #guestLimitMs = 30_000;
  #started = false;

  /**
   * @param plugins those that are built in.
   * @param modules what guests bring. One of a kind and id that is there already is reported as failed.
   * @throws already_exists when two that are built in have the same kind and id, naming both by their places in the list.
   */
  constructor(plugins: readonly Plugin[], modules: readonly PluginModule[] = []) {
    const places = new Map<string, number>();
    const own = plugins.map((plugin, index) => {
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
      return newEntry(plugin, builtIn);
    });
    this.#modules = modules;
    this.#entries = [...own];
    for (const { source, plugins } of modules) this.#entries.push(...plugins.map((plugin) => newEntry(plugin, source)));
  }

  /**
   * Probes and creates every plugin, each after what it requires; else in the order of the list.
   *
   * @param settings each plugin's part of the configuration by `kind/id`.
   * @throws invalid_argument, before anything is created, for settings that no plugin takes.
   */
  async start(
    context: ProbeContext,
    settings: Readonly<Record<string, unknown>> = {},
    { log = silent, guestLimitMs = 30_000 }: StartOptions = {},
  ): Promise<void> {
    if (this.#started) throw new Failure("failed_precondition", "cannot start the plugins: they were started before");
    this.#log = log;
    this.#guestLimitMs = guestLimitMs;
    for (const { source, problems } of this.#modules) {
      for (const problem of problems) log.error(`cannot use plugin module ${JSON.stringify(source)}`, problem);
    }
    this.#refuseDoubles();
    const configs = this.#parseSettings(settings);
    this.#started = true;
    const waiting = new Set(this.#entries.filter(({ state }) => state === undefined));
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
    const plugins = this.#entries.map(({ plugin, source, state, reason }) => ({
      kind: plugin.kind,
      id: plugin.id,
      source,
      state: state ?? "skipped",
      reason: state === undefined ? "it was not started yet" : reason,
      requires: plugin.requires ?? [],
    }));
    const problems = this.#modules.flatMap(({ source, problems }) =>
      problems.map((problem) => (
        { kind: "module", id: source, source, state: "failed", reason: messageOf(problem), requires: [] } as const
      ))
    );
    return [...plugins, ...problems];
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
      stack.defer(() => entry.source === builtIn ? dispose(entry.instance) : this.#disposeGuest(entry));
    }
  }

  async #disposeGuest(entry: Entry): Promise<void> {
    try {
      await withTimeLimit(dispose(entry.instance), this.#guestLimitMs, `cannot stop ${who(entry)}`);
    } catch (error) {
      this.#log.error(`cannot stop ${who(entry)}`, error);
    }
  }

  /** The first one of a kind and id stays. */
  #refuseDoubles(): void {
    const first = new Map<string, Entry>();
    for (const entry of this.#entries) {
      const { name, source } = entry;
      const other = first.get(name);
      if (other === undefined) first.set(name, entry);
      else {
        const where = other.source === builtIn ? "built in" : `from ${JSON.stringify(other.source)}`;
        const reason = `${JSON.stringify(name)} from ${JSON.stringify(source)} is there already, ${where}: ` +
          "give one of them another id";
        this.#log.error(`cannot register ${who(entry)}: ${reason}`);
        end(entry, "failed", reason);
      }
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
      const said = await this.#asked(entry, "probe", () => plugin.probe?.(context)) ?? { available: true };
      const availability = entry.source === builtIn ? said : parseAvailability(said);
      if (!availability.available) return end(entry, "unavailable", availability.reason);
      const made = await this.#asked(entry, "create", () =>
        plugin.create({
          ...context,
          config,
          log: withFields(this.#log, { plugin: entry.name }),
          get: <T>(kind: PluginKind, id?: string) => this.#getRequired<T>(plugin, kind, id),
        }));
      entry.instance = entry.source === builtIn ? made : this.#guest(entry, made);
      this.#running.push(entry);
      end(entry, "running", availability.note);
    } catch (error) {
      entry.error = error;
      end(entry, "failed", messageOf(error));
      if (entry.source !== builtIn) this.#log.error(`cannot start ${who(entry)}`, error);
    }
  }

  /** Asks a plugin for something; a guest has to answer in time. */
  async #asked<T>(entry: Entry, call: string, ask: () => Promise<T> | T): Promise<T> {
    if (entry.source === builtIn) return await ask();
    return await withTimeLimit(ask(), this.#guestLimitMs, `its ${call}() does not end`);
  }

  #guest(entry: Entry, made: unknown): object {
    return guestObject(parseInstance(entry.plugin, made), {
      who: who(entry),
      onDefect: (failure) => {
        this.#log.error("a plugin has a defect", failure);
        entry.error = failure;
        end(entry, "failed", failure.message);
      },
    });
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
    // Where a module could not be used, they may be for what is in it.
    if (unknown !== undefined && this.#modules.every(({ problems }) => problems.length === 0)) {
      throw new Failure(
        "invalid_argument",
        `cannot configure plugin ${JSON.stringify(unknown)}: there is none of this kind and id: there are ${
          [...names].join(", ")
        }`,
      );
    }
    const configs = new Map<Entry, unknown>();
    for (const entry of this.#entries) {
      if (entry.state !== undefined) continue;
      try {
        configs.set(entry, parseConfig(entry, settings[entry.name]));
      } catch (error) {
        if (entry.source === builtIn || codeOf(error) !== "internal") throw error;
        entry.error = error;
        end(entry, "failed", `its config cannot be used: ${messageOf(error)}`);
      }
    }
    return configs;
  }
}

function newEntry(plugin: Plugin, source: string): Entry {
  const name = `${plugin.kind}/${plugin.id}`;
  return { plugin, name, source, state: undefined, reason: undefined, error: undefined, instance: undefined };
}

/** A guest in the words of a failure. */
function who({ name, source }: Entry): string {
  return `plugin ${JSON.stringify(name)} of ${JSON.stringify(source)}`;
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
