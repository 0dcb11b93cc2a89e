import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { type Spec, SpecSchema } from "../core/spec.ts";

/** A folder with a container's configuration, as the OCI runtime specification has it. */
export interface Bundle {
  readonly folder: string;
  readonly spec: Spec;
  /** The root filesystem, as an absolute path. */
  readonly root: string;
}

/** @throws not_found, invalid_argument: what is missing, or wrong in it. */
export function readBundle(path: string): Bundle {
  const folder = resolve(path);
  const file = `${folder}/config.json`;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new Failure("not_found", `cannot read ${JSON.stringify(file)}: there is no such configuration`, { cause });
  }
  const spec = parseSpec(text, file);
  if (spec.root === undefined) {
    throw new Failure("invalid_argument", `cannot use ${JSON.stringify(file)}: it names no root filesystem`, {
      details: { field: "root" },
    });
  }
  const root = resolve(folder, spec.root.path);
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new Failure("not_found", `cannot use root filesystem ${JSON.stringify(root)}: there is no such folder`, {
      details: { field: "root.path" },
    });
  }
  return { folder, spec, root };
}

function parseSpec(text: string, file: string): Spec {
  return parse(SpecSchema, readJson(text, file), `cannot use ${JSON.stringify(file)}`);
}

/** @param what names it in the message. @throws invalid_argument for what is no JSON. */
export function readJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Failure("invalid_argument", `cannot read ${JSON.stringify(what)}: it is no JSON`, { cause });
  }
}
