import { pathToFileURL } from "node:url";
import { Failure, messageOf } from "./core/errors.ts";
import { type Plugin, pluginContract } from "./core/plugin.ts";
import type { PluginModule } from "./core/plugin_registry.ts";
import { parsePlugin } from "./core/plugin_shapes.ts";
import { withTimeLimit } from "./core/time_limit.ts";

/** How long a module may take to be loaded. */
const loadLimitMs = 30_000;

/**
 * Loads the modules that a configuration names, each an absolute path or a package, and takes out the plugins that they
 * export: every exported object that has a `contract` or a `create`. One that cannot be loaded says why; nothing is thrown.
 */
export async function loadPluginModules(
  names: readonly string[],
  limitMs: number = loadLimitMs,
): Promise<readonly PluginModule[]> {
  return await Promise.all(names.map((name) => loadModule(name, limitMs)));
}

async function loadModule(source: string, limitMs: number): Promise<PluginModule> {
  const plugins: Plugin[] = [];
  const problems: unknown[] = [];
  try {
    const address = source.startsWith("/") ? pathToFileURL(source).href : source;
    const exported: Readonly<Record<string, unknown>> = await withTimeLimit(import(address), limitMs, "cannot load it");
    const candidates = Object.entries(exported).filter(([, value]) => isCandidate(value));
    if (candidates.length === 0) {
      throw new Failure("invalid_argument", "it exports no plugin: want an object with kind, id, contract and create");
    }
    // The default export often is one of the named ones.
    const unique = candidates.filter(([, value], index) => candidates.findIndex(([, one]) => one === value) === index);
    for (const [name, value] of unique) {
      try {
        plugins.push(takePlugin(value, name));
      } catch (error) {
        problems.push(error);
      }
    }
  } catch (error) {
    problems.push(error);
  }
  return { source, plugins, problems };
}

function isCandidate(value: unknown): value is object {
  return typeof value === "object" && value !== null && ("contract" in value || "create" in value);
}

function takePlugin(value: unknown, name: string): Plugin {
  const contract: unknown = typeof value === "object" && value !== null && "contract" in value
    ? value.contract
    : undefined;
  const action = `cannot use its export ${JSON.stringify(name)}`;
  // First of all: what another contract wants of the rest is not known here.
  if (typeof contract === "number" && contract !== pluginContract) {
    const older = contract < pluginContract;
    throw new Failure(
      "unimplemented",
      `${action}: it was built for contract ${contract}, this program has ${pluginContract}: ` +
        (older ? "use a newer version of it" : "use a newer mayfly, or an older version of it"),
    );
  }
  try {
    return parsePlugin(value, action);
  } catch (error) {
    throw error instanceof Failure ? error : new Failure("invalid_argument", `${action}: ${messageOf(error)}`);
  }
}
