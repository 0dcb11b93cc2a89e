import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { HostName } from "../src/core/host.ts";
import { currentHost } from "../src/host/mod.ts";
import { version } from "../src/version.ts";
import { makeBusyboxImage } from "./support/busybox_image.ts";
import { cgroupParent, stateFlags } from "./support/mayfly_process.ts";

const project = fileURLToPath(new URL("..", import.meta.url));

/** What a user's own program says, and what it holds there. */
const program = `
import { codeOf, open, type RunResult } from "mayfly";
import { createClient } from "mayfly/client";
import type { Plugin } from "mayfly/plugin";
import { Hono } from "hono";

const [root = "", run = "", layout = "", cgroup = ""] = process.argv.slice(2);
await using mayfly = await open({
  root,
  run,
  logLevel: "warn",
  plugins: { "runtime/native": { cgroupParent: cgroup } },
});
await mayfly.import(layout);
await mayfly.deploy("upper", { image: "box:1", args: ["tr", "a-z", "A-Z"] });
const server = new Hono().route("/jobs", mayfly.functions);
const request = new Request("http://any/jobs/fn/upper", { method: "POST", body: "hello" });
console.log(await (await server.fetch(request)).text());
const { code, stdout }: RunResult = await mayfly.run({ image: "box:1", args: ["echo", "ran"] });
console.log(code, new TextDecoder().decode(stdout).trim());
const client = createClient((request) => Promise.resolve(mayfly.admin.fetch(request)));
const { items } = await (await client.v1.functions.$get({ query: {} })).json();
const names: readonly string[] = items.map(({ name }) => name);
console.log(names.join());
await mayfly.remove("none").catch((error) => console.log(codeOf(error)));
export const plugins: readonly Plugin[] = [];
`;

const programs = {
  node: (file) => ["node", file],
  bun: (file) => ["bun", file],
  deno: (file) => ["deno", "run", "-A", file],
} as const satisfies Record<HostName, (file: string) => readonly string[]>;

const bins: Readonly<Record<HostName, readonly string[]>> = {
  node: ["npx", "--no-install", "mayfly"],
  bun: ["bunx", "--bun", "--no-install", "mayfly"],
  deno: ["deno", "run", "-A", "npm:mayfly"],
};

describe("the npm package", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-package-"));
  const empty = join(folder, "project");
  const layout = makeBusyboxImage(folder, "box:1");
  let host: HostName;

  /** Runs a program in the project. */
  const out = ([name = "", ...args]: readonly string[], input = ""): string => {
    const { status, stdout, stderr } = spawnSync(name, args, { cwd: empty, encoding: "utf8", input });
    assert.equal(status, 0, `${name} ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  };

  before(async () => {
    host = (await currentHost()).name;
    mkdirSync(empty);
    writeFileSync(join(empty, "package.json"), JSON.stringify({ private: true, type: "module" }));
    writeFileSync(join(empty, "program.ts"), program);
    for (const args of [["run", "build"], ["pack", "./dist", "--pack-destination", folder]]) {
      execFileSync("npm", args, { cwd: project, stdio: ["ignore", "pipe", "pipe"] });
    }
    const packed = join(folder, `mayfly-${version}.tgz`);
    const install = ["install", "--prefer-offline", "--no-audit", "--no-fund", packed];
    const { status, stderr } = spawnSync("npm", install, { cwd: empty, encoding: "utf8" });
    assert.equal(status, 0, stderr);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("holds what is built, and no source of it", () => {
    const files = out(["find", "node_modules/mayfly", "-type", "f"]).trim().split("\n");
    assert.ok(files.includes("node_modules/mayfly/src/mayfly.d.ts"));
    assert.deepEqual(files.filter((file) => /(?<!\.d)\.ts$/.test(file)), []);
    const declarations = files.filter((file) => file.endsWith(".d.ts"));
    assert.deepEqual(declarations.filter((file) => /"\.[^"]*\.ts"/.test(readFileSync(join(empty, file), "utf8"))), []);
    const { dependencies } = JSON.parse(readFileSync(join(empty, "node_modules/mayfly/package.json"), "utf8"));
    assert.ok(!("node" in dependencies), "it would put another Node in the place of the project's");
  });

  it("has types", () => {
    const types = ["--typeRoots", join(project, "node_modules/@types"), "--types", "node"];
    out([
      join(project, "node_modules/.bin/tsc"),
      "--strict",
      "--noEmit",
      "--module",
      "nodenext",
      ...types,
      "program.ts",
    ]);
  });

  it("is imported by a program of one's own", () => {
    const state = [join(folder, "root"), join(folder, "run"), layout, cgroupParent(folder)];
    assert.equal(out([...programs[host]("program.ts"), ...state]), "HELLO\n0 ran\nupper\nnot_found\n");
  });

  it("brings the command line", () => {
    const mayfly = (
      command: string,
      ...args: readonly string[]
    ) => [...bins[host], command, ...stateFlags(folder), ...args];
    assert.match(out([...bins[host], "doctor"]), new RegExp(`ok +host +${host} `));
    out(mayfly("import", layout));
    out(mayfly("deploy", "count", "--image", "box:1", "--", "wc", "-c"));
    assert.equal(out(mayfly("invoke", "count", "--data", "four")).trim(), "4");
  });

  it("brings the OCI runtime's command line", () => {
    const { status, stdout } = spawnSync(join(empty, "node_modules/.bin/mayfly-oci"), ["--version"], {
      encoding: "utf8",
      env: { ...process.env, MAYFLY_HOST: host },
    });
    assert.equal(status, 0);
    assert.match(stdout, /^mayfly version /);
  });
});
