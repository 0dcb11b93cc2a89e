import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { Spec } from "../../src/core/spec.ts";
import { configJson } from "./config_json.ts";

/** The folder of one task: the bundle, and the files that it and its runtime tell each other things by. */
export class Bundle {
  readonly folder: string;
  readonly pidFile: string;
  #files = 0;

  constructor(folder: string, spec: Spec, rootPath: string) {
    this.folder = folder;
    this.pidFile = `${folder}/pid`;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { readonly } = spec.root ?? {};
    const root = { path: rootPath, ...(readonly === undefined ? {} : { readonly }) };
    writeFileSync(`${folder}/config.json`, configJson({ ...spec, root }), { mode: 0o600 });
  }

  /** A name for a new file. */
  file(name: string): string {
    return `${this.folder}/${name}${this.#files++}`;
  }

  /** Writes a new file. @returns its path. */
  write(name: string, text: string): string {
    const path = this.file(name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
