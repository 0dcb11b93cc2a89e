import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure, messageOf } from "../../core/errors.ts";
import { parse } from "../../core/parse.ts";

const name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "a network's name, as a1_b.c-d"));
const version = v.pipe(
  v.string(),
  v.regex(/^(?:0\.(?:3|4)\.\d+|1\.\d+\.\d+)$/, "a version of the CNI specification from 0.3.0 to 1.x"),
);

/** What one plugin is told; what it does not know is the plugin's own. */
const PluginSchema = v.looseObject({
  /** The file name of its program. */
  type: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "the file name of a plugin")),
});

/** @see https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md#section-1-network-configuration-format */
export const ConfigurationSchema = v.looseObject({
  cniVersion: version,
  name,
  plugins: v.pipe(v.array(PluginSchema), v.minLength(1), v.maxLength(32)),
});
export type Configuration = v.InferOutput<typeof ConfigurationSchema>;

/** A file of one plugin, from before there were lists. */
const SingleSchema = v.looseObject({ cniVersion: version, name, ...PluginSchema.entries });

const mostFiles = 256;
const mostBytes = 1024 * 1024;

/**
 * Finds a network's configuration: of several files that name it the first in the alphabet.
 * @throws not_found with the names that are there; invalid_argument for what is wrong with the file.
 */
export function findConfiguration(folder: string, wanted: string): Configuration {
  const known: string[] = [];
  for (const path of filesOf(folder)) {
    const document = read(path);
    const own = nameOf(document);
    if (own !== undefined) known.push(own);
    if (own === wanted) return parseConfiguration(path, document);
  }
  const there = known.length === 0 ? "it has none" : `it has ${known.join(", ")}`;
  throw new Failure(
    "not_found",
    `no network ${JSON.stringify(wanted)} is configured in ${JSON.stringify(folder)}: ${there}`,
    { details: { field: "network" } },
  );
}

function filesOf(folder: string): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch {
    // A machine without CNI has no such folder.
    return [];
  }
  const files = names.filter((name) => /\.(?:conflist|conf|json)$/.test(name)).sort();
  return files.slice(0, mostFiles).map((name) => join(folder, name));
}

/** @returns undefined for what is no JSON, which is then no network that could be named. */
function read(path: string): unknown {
  try {
    return statSync(path).size > mostBytes ? undefined : JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function nameOf(document: unknown): string | undefined {
  const name: unknown = typeof document === "object" && document !== null && Reflect.get(document, "name");
  return typeof name === "string" ? name : undefined;
}

function parseConfiguration(path: string, document: unknown): Configuration {
  const action = `cannot use ${JSON.stringify(path)}`;
  try {
    if (typeof document === "object" && document !== null && "plugins" in document) {
      return parse(ConfigurationSchema, document, action);
    }
    const { cniVersion, name, ...plugin } = parse(SingleSchema, document, action);
    return { cniVersion, name, plugins: [plugin] };
  } catch (error) {
    throw new Failure("invalid_argument", messageOf(error), { cause: error, details: { field: "network" } });
  }
}
