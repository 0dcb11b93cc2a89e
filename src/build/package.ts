/**
 * Builds the npm package in `dist/`, which `npm pack ./dist` packs: JavaScript and type declarations, file by file as in the
 * source. It has to be built, since Node strips no types from what lies in `node_modules`; its package.json is this one
 * with what is built in the place of the source.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import * as v from "valibot";

const root = fileURLToPath(new URL("../..", import.meta.url));
const dist = join(root, "dist");

const Paths = v.record(v.string(), v.string());
const { scripts: _, devDependencies: __, overrides: ___, allowScripts: ____, bin, exports, ...manifest } = v.parse(
  v.looseObject({ bin: Paths, exports: Paths, scripts: Paths, devDependencies: Paths }),
  JSON.parse(readFileSync(join(root, "package.json"), "utf8")),
);

rmSync(dist, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, "node_modules/.bin/tsc"), "-p", join(root, "src/build/tsconfig.json")], {
  stdio: "inherit",
});
// The compiler renames imports in the JavaScript alone.
for (const file of globSync("**/*.d.ts", { cwd: dist })) {
  const path = join(dist, file);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace(/((?:\bfrom |\bimport\()"\.[^"]*)\.ts"/g, '$1.js"'));
}

const built = (path: string, extension: string) => path.replace(/\.ts$/, extension);
const mapped = <To>(paths: Readonly<Record<string, string>>, to: (path: string) => To) =>
  Object.fromEntries(Object.entries(paths).map(([name, path]) => [name, to(path)]));
writeFileSync(
  join(dist, "package.json"),
  JSON.stringify(
    {
      ...manifest,
      bin: mapped(bin, (path) => built(path, ".js")),
      exports: mapped(exports, (path) => ({ types: built(path, ".d.ts"), default: built(path, ".js") })),
    },
    undefined,
    2,
  ),
);
for (const file of ["README.md", ...globSync("src/*/README.md", { cwd: root }), "LICENSE", "src/mayfly-oci"]) {
  copyFileSync(join(root, file), join(dist, file));
}
for (const path of Object.values(bin)) chmodSync(join(dist, built(path, ".js")), 0o755);
