import { lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { create } from "tar";
import { Failure, messageOf } from "../core/errors.ts";
import type { Image } from "../core/image.ts";
import type { Language } from "../core/sources.ts";
import { result } from "./answer.ts";
import type { Connection } from "./connection.ts";

/** Where files lie in the container. */
const place = "app";
/** What the file that is run may be called, where it is not named. */
const entries = ["handler", "main", "index"];
/** A folder of more than these is hardly meant. */
const maxFiles = 100_000;

/** Files of this machine that a function is to be made of. */
export interface Source {
  /** What the function is called, unless it is said. */
  readonly name: string;
  readonly folder: string;
  /** Paths below it, in the order of the archive. */
  readonly files: readonly string[];
  /** The one that is run. */
  readonly entry: string;
}

/**
 * Looks at a file, or at a folder with all that is in it but `.git`.
 * @param entry the file of the folder that is run. Default: `handler`, `main` or `index`, with an ending that is known or
 * executable.
 * @throws not_found; invalid_argument where it is not clear what is run.
 */
export function readSource(
  path: string,
  languages: Readonly<Record<string, Language>>,
  entry: string | undefined,
): Source {
  const action = `cannot deploy ${JSON.stringify(path)}`;
  const full = resolve(path);
  let status: Stats;
  try {
    status = statSync(full);
  } catch (cause) {
    throw new Failure("not_found", `${action}: ${messageOf(cause)}`, { cause });
  }
  if (!status.isDirectory()) {
    const [folder, file] = [dirname(full), basename(full)];
    const stem = basename(file, extname(file));
    return { name: nameOf(entries.includes(stem) ? basename(folder) : stem), folder, files: [file], entry: file };
  }
  const files = filesBelow(full, action);
  const run = entry ??
    files.find((file) =>
      entries.includes(basename(file, extname(file))) && dirname(file) === "." && languageOf(full, file, languages)
    );
  if (run === undefined || !files.includes(run)) {
    const is = run === undefined ? `it has no ${entries.join(", ")}` : `it has no file ${JSON.stringify(run)}`;
    throw new Failure("invalid_argument", `${action}: ${is}: say which of its files is run with --entry`);
  }
  return { name: nameOf(basename(full)), folder: full, files, entry: run };
}

/** The language of a file. @throws invalid_argument for one that is not configured. */
export function languageFor(
  { folder, entry }: Source,
  languages: Readonly<Record<string, Language>>,
): Language {
  const language = languageOf(folder, entry, languages);
  if (language !== undefined) return language;
  throw new Failure(
    "invalid_argument",
    `cannot deploy ${JSON.stringify(join(folder, entry))}: it is not executable, and its name ends like none of ` +
      `${
        Object.keys(languages).filter((name) => name.startsWith(".")).join(" ")
      }: "sources" in the configuration adds some`,
  );
}

/**
 * Makes an image of a source: a layer over the language's image. The same files make the same image.
 * @param options.base in place of the language's image.
 */
export async function buildSource(
  { api }: Connection,
  source: Source,
  { language, base = language.image, name, namespace }: {
    readonly language: Language;
    readonly base?: string | undefined;
    readonly name: string;
    readonly namespace: string | undefined;
  },
): Promise<Pick<Image, "name" | "target">> {
  const file = `/${place}/${source.entry}`;
  const command = language.command.map((word) => word.replaceAll("{file}", file));
  const settings = {
    name: `localhost/${name}:source`,
    base,
    changes: [`WORKDIR /${place}`, `ENTRYPOINT ${JSON.stringify(command)}`],
  };
  const body = Readable.toWeb(Readable.from(archive(source))) as unknown as ReadableStream<Uint8Array>;
  const init = { body, duplex: "half", headers: { "content-type": "application/x-tar" } };
  return await result(
    api.v1.images.build.$post({ query: { namespace, settings: JSON.stringify(settings) } }, { init }),
  );
}

/** A layer that says nothing of when, where and by whom it was made. */
function archive({ folder, files }: Source): AsyncIterable<Uint8Array> {
  return create({
    cwd: folder,
    prefix: place,
    portable: true,
    mtime: new Date(0),
    noDirRecurse: true,
    // Files of one content are files of their own, whether they are links to each other here or copies.
    linkCache: new NoLinks(),
    onWriteEntry({ stat }) {
      if (stat !== undefined) {
        stat.mode = stat.mode & ~0o7777 | (stat.isDirectory() || stat.mode & 0o111 ? 0o755 : 0o644);
      }
    },
  }, [".", ...files.map((file) => `./${file}`)]);
}

class NoLinks extends Map<never, never> {
  override get(): undefined {
    return undefined;
  }
}

function languageOf(folder: string, file: string, languages: Readonly<Record<string, Language>>): Language | undefined {
  const ending = extname(file);
  if (Object.hasOwn(languages, ending)) return languages[ending];
  const status = statSync(join(folder, file), { throwIfNoEntry: false });
  return status?.isFile() && (status.mode & 0o111) !== 0 ? languages["executable"] : undefined;
}

/** Folders before what is in them, each folder's in the order of its names' code units. */
function filesBelow(folder: string, action: string): string[] {
  const files: string[] = [];
  const visit = (below: string) => {
    for (const name of readdirSync(join(folder, below)).sort()) {
      if (name === ".git") continue;
      const file = join(below, name);
      const status = lstatSync(join(folder, file));
      if (!status.isDirectory() && !status.isFile() && !status.isSymbolicLink()) {
        throw new Failure("invalid_argument", `${action}: ${JSON.stringify(file)} is no file, folder or symbolic link`);
      }
      files.push(file);
      if (files.length > maxFiles) {
        throw new Failure("resource_exhausted", `${action}: it has more than ${maxFiles} files and folders`);
      }
      if (status.isDirectory()) visit(file);
    }
  };
  visit("");
  return files;
}

/** `My_Handler` → `my-handler`: a function's name, as far as it can be one. */
function nameOf(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
}
