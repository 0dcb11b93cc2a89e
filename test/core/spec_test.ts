import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { codeOf, Failure } from "../../src/core/errors.ts";
import { parse } from "../../src/core/parse.ts";
import { SpecSchema } from "../../src/core/spec.ts";

/*
 * Every field of the configuration, wrong in every way that the specification's own JSON schema can tell. Debian carries the
 * schema of version 1.1; what came with 1.2 is written below in the same form.
 */

const folder = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly allOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly required?: readonly string[];
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
}

const uint32 = { type: "integer", minimum: 0, maximum: 2 ** 32 - 1 };
const uint64 = { type: "integer", minimum: 0, maximum: 2 ** 64 };
const int32 = { type: "integer", minimum: -(2 ** 31), maximum: 2 ** 31 - 1 };
const int64 = { type: "integer", minimum: -(2 ** 63), maximum: 2 ** 63 };
const strings = { type: "array", items: { type: "string" } };
const offsets = { type: "object", properties: { secs: int64, nanosecs: uint32 } };

const since12: Schema = {
  type: "object",
  properties: {
    process: {
      type: "object",
      properties: {
        scheduler: {
          type: "object",
          required: ["policy"],
          properties: {
            policy: { type: "string", enum: ["SCHED_OTHER", "SCHED_DEADLINE"] },
            nice: int32,
            priority: int32,
            flags: { type: "array", items: { type: "string", enum: ["SCHED_FLAG_RECLAIM"] } },
            runtime: uint64,
            deadline: uint64,
            period: uint64,
          },
        },
        ioPriority: {
          type: "object",
          required: ["class"],
          properties: {
            class: { type: "string", enum: ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"] },
            priority: int32,
          },
        },
        execCPUAffinity: {
          type: "object",
          properties: {
            initial: { type: "string", pattern: "^[0-9, -]*$" },
            final: { type: "string", pattern: "^[0-9, -]*$" },
          },
        },
      },
    },
    linux: {
      type: "object",
      properties: {
        namespaces: {
          type: "array",
          items: { type: "object", required: ["type"], properties: { type: { type: "string", enum: ["time"] } } },
        },
        timeOffsets: { type: "object", properties: { monotonic: offsets, boottime: offsets } },
        personality: {
          type: "object",
          required: ["domain"],
          properties: { domain: { type: "string", enum: ["LINUX"] }, flags: strings },
        },
      },
    },
  },
};

/** What the schema has for other systems, and what is only checked when the configuration is used. */
const others = new Set(["solaris", "windows", "vm", "zos", "process.commandLine", "process.user.username"]);

const files = new Map<string, { readonly definitions?: Readonly<Record<string, Schema>> }>();
function load(file: string) {
  let loaded = files.get(file);
  if (loaded === undefined) files.set(file, loaded = JSON.parse(readFileSync(`${folder}/${file}`, "utf8")));
  return loaded ?? {};
}

/** Follows references, and joins what `allOf` says. */
function resolve(schema: Schema, file: string): readonly [schema: Schema, file: string] {
  if (schema.$ref !== undefined) {
    const [other = "", path = ""] = schema.$ref.split("#/");
    const next = other === "" ? file : other;
    const target = path.split("/").filter((key) => key !== "").reduce<unknown>(
      (value, key) => Reflect.get(Object(value), key),
      load(next),
    );
    return resolve(target as Schema, next);
  }
  if (schema.allOf === undefined) {
    return schema.anyOf?.[0] === undefined ? [schema, file] : resolve(schema.anyOf[0], file);
  }
  const parts = schema.allOf.map((part) => resolve(part, file)[0]);
  return [{
    type: "object",
    properties: Object.assign({}, ...parts.map(({ properties }) => properties)),
    required: parts.flatMap(({ required }) => required ?? []),
  }, file];
}

/** Values that strings of a form have. */
const samples: Readonly<Record<string, string>> = {
  "^[cbup]$": "c",
  "^RLIMIT_[A-Z]+$": "RLIMIT_CORE",
  "^[1-9][0-9]*[KMG]B$": "2MB",
  "^MB:[^\\n]*$": "MB:0=1",
  "^[0-9, -]*$": "0-1",
};

/** Fields whose strings are more than strings. */
const texts: Readonly<Record<string, string>> = {
  ociVersion: "1.2.0",
  "process.cwd": "/",
  "linux.devices.0.path": "/dev/x",
  "linux.namespaces.0.path": "/proc/1/ns/net",
  "linux.maskedPaths.0": "/proc/x",
  "linux.readonlyPaths.0": "/proc/x",
  "linux.resources.devices.0.type": "c",
  "linux.resources.devices.0.access": "rwm",
  ...Object.fromEntries(
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"].map((kind) => [
      `hooks.${kind}.0.path`,
      "/bin/true",
    ]),
  ),
};
const absolutePaths = Object.keys(texts).filter((field) => texts[field]?.startsWith("/"));

interface Wrong {
  readonly field: string;
  readonly what: string;
  readonly value: Json | undefined;
  /** What the message has to name; default the field. */
  readonly named?: string;
}

/** Builds a value with every field, and collects what can be wrong in it. */
function build(schema: Schema, file: string, field: string, wrong: Wrong[]): Json {
  const [resolved, at] = resolve(schema, file);
  const { type, properties, required = [], items, minimum, maximum, minItems } = resolved;
  const bad = (what: string, value: Json | undefined, named?: string) =>
    wrong.push({ field, what, value, ...(named === undefined ? {} : { named }) });
  const below = (name: string | number) => field === "" ? String(name) : `${field}.${name}`;
  switch (type) {
    case "object": {
      if (field !== "") { for (const value of ["text", 7, true]) bad(`is ${JSON.stringify(value)}`, value); }
      const made: Record<string, Json> = {};
      for (const [name, each] of Object.entries(properties ?? {})) {
        if (!others.has(below(name))) made[name] = build(each, at, below(name), wrong);
      }
      const [any] = [resolved.additionalProperties, ...Object.values(resolved.patternProperties ?? {})];
      if (any !== undefined) made["some.key"] = build(any, at, below("some.key"), wrong);
      for (const name of required) wrong.push({ field: below(name), what: "is missing", value: undefined });
      return made;
    }
    case "array": {
      for (const value of ["text", 7, {}]) bad(`is ${JSON.stringify(value)}`, value);
      if (minItems !== undefined) bad("is empty", []);
      return items === undefined ? [] : [build(items, at, below(0), wrong)];
    }
    case "boolean":
      for (const value of ["true", 1, []]) bad(`is ${JSON.stringify(value)}`, value);
      return true;
    case "integer":
      for (const value of ["one", true, 1.5, [1]]) bad(`is ${JSON.stringify(value)}`, value);
      if (minimum !== undefined && minimum > -(2 ** 62)) bad("is too small", minimum - 1);
      else bad("is too small", -(2 ** 65));
      bad("is too large", maximum !== undefined && maximum < 2 ** 53 && maximum !== 512 ? maximum + 1 : 2 ** 66);
      return Math.max(minimum ?? 0, field.endsWith("umask") ? 0o22 : 1);
    default: {
      for (const value of [7, true, {}]) bad(`is ${JSON.stringify(value)}`, value);
      bad("holds a NUL", "a\0b");
      if (resolved.enum !== undefined) bad("is no word of the list", `${resolved.enum[0]}X`);
      if (resolved.pattern !== undefined) bad("is not of the form", "§");
      if (absolutePaths.includes(field)) bad("is relative", "relative/path");
      return resolved.enum?.[0] ?? samples[resolved.pattern ?? ""] ?? texts[field] ?? "text";
    }
  }
}

/** A copy of a value with one field changed. */
function changed(value: Json, path: readonly string[], to: Json | undefined): Json {
  const [first, ...rest] = path;
  if (first === undefined) return to ?? null;
  const copy: Record<string, Json> | Json[] = Array.isArray(value) ? [...value] : { ...value as Record<string, Json> };
  const inner = Reflect.get(copy, first) as Json;
  if (rest.length === 0 && to === undefined) Reflect.deleteProperty(copy, first);
  else Reflect.set(copy, first, changed(inner, rest, to));
  return copy;
}

/** Field names hold dots where a map has them as keys. */
function pathOf(field: string): string[] {
  return field.replaceAll("some.key", "some\0key").split(".").map((part) => part.replace("\0", "."));
}

const hasSchema = existsSync(folder);

describe("SpecSchema", { skip: hasSchema ? false : "it takes golang-github-opencontainers-specs-dev" }, () => {
  const wrong: Wrong[] = [];
  const merge = (one: Json, other: Json): Json => {
    if (typeof one !== "object" || typeof other !== "object" || Array.isArray(one) || one === null || other === null) {
      return one;
    }
    const [left, right] = [one as Record<string, Json>, other as Record<string, Json>];
    const merged = { ...right, ...left };
    for (const key of Object.keys(merged)) {
      if (key in left && key in right) merged[key] = merge(left[key] as Json, right[key] as Json);
    }
    return merged;
  };
  const minimal = { ociVersion: "1.2.0", process: { args: ["true"], cwd: "/" } };
  const full = hasSchema
    ? merge(build({ $ref: "config-schema.json#/" }, "", "", wrong), build(since12, "", "", wrong))
    : {};

  it("takes a configuration with every field, and the smallest", () => {
    parse(SpecSchema, full, "cannot read");
    parse(SpecSchema, minimal, "cannot read");
  });

  it("covers a few hundred ways to be wrong", () => assert.ok(wrong.length > 500, String(wrong.length)));

  for (const field of new Set(wrong.map((each) => each.field))) {
    it(`names ${field}`, () => {
      for (const { what, value } of wrong.filter((each) => each.field === field)) {
        const broken = changed(full, pathOf(field), value);
        assert.throws(() => parse(SpecSchema, broken, "cannot read"), (error: unknown) => {
          assert.ok(error instanceof Failure);
          assert.equal(codeOf(error), "invalid_argument");
          assert.ok(String(error.details?.field).startsWith(field), `${field} ${what}: ${error}`);
          assert.ok(error.message.includes(field), `${field} ${what}: ${error}`);
          return true;
        }, `${field} ${what}`);
      }
    });
  }
});
