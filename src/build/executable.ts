/**
 * Builds a single executable, `dist/mayfly`: Bun, the source and libSQL's native part in one file. Runs on Bun:
 * `npm run build:executable [file]`.
 */
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** What it takes of Bun, which `deno check` does not know. */
interface Plugin {
  readonly name: string;
  setup(build: {
    onLoad(
      which: { readonly filter: RegExp },
      load: (file: { readonly path: string }) => Loaded | Promise<Loaded>,
    ): void;
  }): void;
}
interface Loaded {
  readonly contents: string;
  readonly loader: "js" | "ts";
}
declare const Bun: {
  build(options: {
    readonly entrypoints: readonly string[];
    readonly target: "bun";
    readonly plugins: readonly Plugin[];
    readonly minify: { readonly whitespace: boolean; readonly syntax: boolean };
    readonly compile: { readonly outfile: string };
  }): Promise<unknown>;
};

const root = fileURLToPath(new URL("../..", import.meta.url));
const outfile = resolve(process.argv[2] ?? join(root, "dist/mayfly"));

/** `libsql` asks for its native part by a name that it puts together; only a name that is written out is embedded. */
const libsql: Plugin = {
  name: "libsql",
  setup(build) {
    build.onLoad({ filter: /\/node_modules\/libsql\/index\.js$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const dynamic = "require(`@libsql/${target}`)";
      if (!text.includes(dynamic)) throw new Error(`${path} does not load its native part by ${dynamic} any more`);
      return { contents: text.replace(dynamic, 'require("@libsql/linux-x64-gnu")'), loader: "js" };
    });
  },
};

/** There is one host; what makes Node one has native parts of its own, and an import that is left out is looked for at start. */
const host: Plugin = {
  name: "host",
  setup(build) {
    build.onLoad({ filter: /\/src\/host\/mod\.ts$/ }, () => ({
      contents:
        'export { currentHost }; import { host } from "./bun.ts"; const currentHost = () => Promise.resolve(host);',
      loader: "ts",
    }));
  },
};

mkdirSync(dirname(outfile), { recursive: true });
await Bun.build({
  entrypoints: [join(root, "src/main.ts")],
  target: "bun",
  plugins: [host, libsql],
  minify: { whitespace: true, syntax: true },
  compile: { outfile },
});
console.log(outfile);
