import * as v from "valibot";
import { Failure, messageOf } from "./errors.ts";
import { parse } from "./parse.ts";
import {
  type Plugin,
  pluginContract,
  type PluginInfo,
  type PluginKind,
  pluginKinds,
  type PluginState,
  type ProbeContext,
} from "./plugin.ts";

interface Entry {
  readonly plugin: Plugin;
  readonly name: string;
  state: PluginState;
  reason: string | undefined;
  instance: unknown;
}

const nothing = v.strictObject({});

/**
 * Holds the plugins of a process: starts them in the order of what they require, and contains those that fail.
 * A plugin that does not run keeps the reason; only what requires it is skipped.
 */
export class PluginRegistry {
  readonly #entries = new Map<string, Entry>();

  /** @throws already_exists for two of the same kind and id; invalid_argument for an unknown kind. */
  constructor(plugins: readonly Plugin[]) {
    plugins.forEach((plugin, index) => {
      const name = `${plugin.kind}/${plugin.id}`;
      if (!pluginKinds.includes(plugin.kind)) {
        throw new Failure(
          "invalid_argument",
          `cannot register plugin ${name}: its kind is none of ${pluginKinds.join(", ")}`,
        );
      }
      if (this.#entries.has(name)) {
        const first = [...this.#entries.keys()].indexOf(name);
        throw new Failure(
          "already_exists",
          `cannot register plugin ${name} twice: number ${first + 1} and number ${
            index + 1
          } of the list have this kind and id`,
        );
      }
      this.#entries.set(name, { plugin, name, state: "skipped", reason: "not started", instance: undefined });
    });
  }

  /**
   * Starts every plugin that can be started.
   * @param settings each plugin's part of the configuration, by `kind/id`.
   * @throws invalid_argument for settings of a plugin that is not there.
   */
  async start(context: ProbeContext, settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
    for (const name of Object.keys(settings)) {
      if (!this.#entries.has(name)) {
        throw new Failure(
          "invalid_argument",
          `cannot configure plugin ${JSON.stringify(name)}: there is none, known are ${
            [...this.#entries.keys()].join(", ")
          }`,
        );
      }
    }
    const path = new Set<Entry>();
    const visited = new Set<Entry>();
    const visit = async (entry: Entry): Promise<void> => {
      if (visited.has(entry)) return;
      if (path.has(entry)) {
        const cycle = [...path].slice([...path].indexOf(entry)).concat(entry).map(({ name }) => name);
        return settle(entry, "failed", `it requires itself: ${cycle.join(" → ")}`);
      }
      path.add(entry);
      for (const need of entry.plugin.requires ?? []) for (const other of this.#matching(need)) await visit(other);
      path.delete(entry);
      if (visited.has(entry)) return;
      visited.add(entry);
      if (entry.state !== "failed") await this.#startOne(entry, context, settings[entry.name]);
    };
    for (const entry of this.#entries.values()) await visit(entry);
  }

  async #startOne(entry: Entry, base: ProbeContext, settings: unknown): Promise<void> {
    const { plugin, name } = entry;
    if (plugin.contract !== pluginContract) {
      return settle(
        entry,
        "failed",
        `it was built for contract ${plugin.contract}, this program has ${pluginContract}`,
      );
    }
    for (const need of plugin.requires ?? []) {
      const there = this.#matching(need);
      if (there.some(({ state }) => state === "running")) continue;
      const why = there.length === 0
        ? "there is none"
        : there.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
      return settle(entry, "skipped", `it requires ${need}, and ${why}`);
    }
    try {
      const config = parse(plugin.config ?? nothing, settings ?? {}, `cannot configure plugin ${name}`);
      const available = await plugin.probe?.(base);
      if (available?.available === false) return settle(entry, "unavailable", available.reason);
      entry.instance = await plugin.create({ ...base, config, get: (kind, id) => this.get(kind, id) });
      settle(entry, "running", available?.note);
    } catch (error) {
      settle(entry, "failed", messageOf(error));
    }
  }

  #matching(need: string): Entry[] {
    return [...this.#entries.values()].filter(({ name, plugin }) => name === need || plugin.kind === need);
  }

  /** The instance of a running plugin. @param id by default the first of its kind. @throws failed_precondition. */
  get<T>(kind: PluginKind, id?: string): T {
    const entries = this.#matching(id === undefined ? kind : `${kind}/${id}`);
    const running = entries.find(({ state }) => state === "running");
    if (running !== undefined) return running.instance as T;
    const why = entries.length === 0
      ? "there is none"
      : entries.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
    throw new Failure(
      "failed_precondition",
      `no plugin ${id === undefined ? `of kind ${kind}` : `${kind}/${id}`} is running: ${why}`,
    );
  }

  /** The running instances of a kind, by id. */
  all<T>(kind: PluginKind): ReadonlyMap<string, T> {
    return new Map(
      [...this.#entries.values()]
        .filter(({ plugin, state }) => plugin.kind === kind && state === "running")
        .map(({ plugin, instance }) => [plugin.id, instance as T]),
    );
  }

  /** Every plugin with its state. */
  list(): readonly PluginInfo[] {
    return [...this.#entries.values()].map(({ plugin, state, reason }) => ({
      kind: plugin.kind,
      id: plugin.id,
      state,
      reason,
      requires: plugin.requires ?? [],
    }));
  }
}

function settle(entry: Entry, state: PluginState, reason: string | undefined): void {
  entry.state = state;
  entry.reason = reason;
}
