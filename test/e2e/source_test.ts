import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { create } from "tar";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

/** An image with Node and the libraries that it is linked to. */
function makeNodeImage(folder: string): string {
  const node = realpathSync(fileURLToPath(new URL("../../node_modules/node/bin/node", import.meta.url)));
  const root = join(folder, "node-root");
  const put = (path: string, to: string) => {
    mkdirSync(join(root, dirname(to)), { recursive: true });
    copyFileSync(path, join(root, to));
    chmodSync(join(root, to), 0o755);
  };
  put(node, "bin/node");
  for (const [, path = ""] of execFileSync("ldd", [node], { encoding: "utf8" }).matchAll(/(\/\S+) \(0x/g)) {
    put(path, path);
  }
  for (const name of ["tmp", "proc", "sys", "dev"]) mkdirSync(join(root, name), { recursive: true });
  const archive = join(folder, "node.tar");
  create({ file: archive, cwd: root, portable: true, sync: true }, ["."]);
  const layout = new LayoutFolder(join(folder, "node-layout"));
  const image = layout.image([readFileSync(archive)], { config: { Env: ["PATH=/bin"], Cmd: ["node"] } });
  return layout.name({ "node:1": image });
}

describe("functions of source files", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-source-"));
  const work = join(folder, "work");
  const sources = JSON.stringify({
    ".js": { image: "node:1", command: ["node", "{file}"] },
    ".ts": { image: "node:1", command: ["node", "{file}"] },
    ".sh": { image: "box:1", command: ["sh", "{file}"] },
    executable: { image: "box:1", command: ["{file}"] },
  });
  let daemon: MayflyProcess;
  const { run, out } = commandsOn(folder, ["--sources", sources]);
  const refused = async (...args: readonly string[]): Promise<string> => {
    const { code, stderr } = await run("deploy", ...args);
    assert.notEqual(code, 0);
    return stderr;
  };
  const deployed = async (...args: readonly string[]) =>
    JSON.parse(await out("deploy", "--json", ...args)) as { name: string; digest: string; image: string };
  const write = (path: string, text: string, mode = 0o644): string => {
    mkdirSync(dirname(join(work, path)), { recursive: true });
    writeFileSync(join(work, path), text, { mode });
    chmodSync(join(work, path), mode);
    return join(work, path);
  };

  before(async () => {
    mkdirSync(work);
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);
    await out("import", makeBusyboxImage(folder, "box:1"));
    await out("import", makeNodeImage(folder));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  for (const template of ["js", "sh"]) {
    it(`new writes a template that runs: ${template}`, async () => {
      const name = `greet-${template}`;
      const said = await out("new", join(work, name), "--template", template);
      assert.match(said, /^mayfly deploy .*greet-\w+ && mayfly invoke greet-\w+ --data you\n$/);
      assert.match(await out("deploy", join(work, name)), new RegExp(`^${name} revision 1,`));
      assert.equal(await out("invoke", name, "--data", "you"), "hello, you\n");
      assert.equal(await out("invoke", name), "hello, world\n");
    });
  }

  it("new leaves what is there, and knows its templates", async () => {
    const there = await run("new", join(work, "greet-js"));
    assert.match(there.stderr, /there is something in it/);
    assert.match(
      (await run("new", join(work, "x"), "--template", "cobol")).stderr,
      /no template "cobol": there are js, sh/,
    );
  });

  it("deploy takes a file, under its own name, with arguments", async () => {
    const file = write("Say_It.sh", 'echo "$1 $2 $PWD"');
    assert.equal((await deployed(file, "--", "one", "two")).name, "say-it");
    assert.equal(await out("invoke", "say-it"), "one two /app\n");
    assert.equal((await deployed(file, "--name", "other")).name, "other");
  });

  it("deploy takes TypeScript, in a folder with what it imports", async () => {
    write("typed/package.json", '{ "type": "module" }');
    write("typed/lib/answer.ts", "export const answer: number = 42;");
    write("typed/handler.ts", 'import { answer } from "./lib/answer.ts";\nconsole.log(answer satisfies number);');
    await deployed(join(work, "typed/handler.ts"), "--name", "alone");
    assert.match((await run("invoke", "alone")).stderr, /exit code 1/);
    assert.equal((await deployed(join(work, "typed"))).name, "typed");
    assert.equal(await out("invoke", "typed"), "42\n");
  });

  it("deploy takes an executable with its files, over another image", async () => {
    write("tool/bin/run", '#!/bin/sh\ncat "$(dirname "$0")/../data/text" link', 0o755);
    write("tool/data/text", "from a file, ");
    write("tool/.git/HEAD", "not this");
    symlinkSync("data/text", join(work, "tool/link"));
    const { image } = await deployed(join(work, "tool"), "--entry", "bin/run", "--image", "docker.io/library/box:1");
    assert.equal(image, "localhost/tool:source");
    assert.equal(await out("invoke", "tool"), "from a file, from a file, ");
    assert.doesNotMatch(await out("run", image, "--entrypoint", "--", "ls", "-a", "/app"), /\.git/);
  });

  it("deploy makes the same image of the same files, whoever has them, whenever, in whatever order", async () => {
    write("same/handler.sh", 'cat "$(dirname "$0")/b"');
    for (const name of ["b", "c/d", "a"]) write(`same/${name}`, "text");
    const first = await deployed(join(work, "same"));
    const copy = join(work, "copy/same");
    cpSync(join(work, "same"), copy, { recursive: true });
    rmSync(join(copy, "a"));
    linkSync(join(copy, "b"), join(copy, "a"));
    execFileSync("chown", ["-R", "1000:1000", copy]);
    for (const name of readdirSync(copy)) utimesSync(join(copy, name), 1, 1);
    chmodSync(join(copy, "b"), 0o600);
    assert.equal((await deployed(copy)).digest, first.digest);
    writeFileSync(join(copy, "b"), "other");
    assert.notEqual((await deployed(copy)).digest, first.digest);
    assert.equal(await out("invoke", "same"), "other");
  });

  it("deploy says what is missing", async () => {
    assert.match(await refused("./none.js"), /cannot deploy ".\/none.js": ENOENT/);
    assert.match(await refused(write("text.txt", "")), /not executable, and its name ends like none of/);
    write("many/one.sh", "");
    assert.match(await refused(join(work, "many")), /has no handler, main, index: say which .* --entry/);
    assert.match(await refused(join(work, "many"), "--entry", "two.sh"), /no file "two.sh"/);
    execFileSync("mkfifo", [join(work, "many/fifo")]);
    assert.match(await refused(join(work, "many"), "--entry", "one.sh"), /"fifo" is no file, folder or symbolic link/);
    assert.match(await refused("word", "--image", "box:1", "--entry", "x"), /--entry is for source files/);
    assert.match(await refused("word"), /wants --image <reference>, or a path with a slash/);
    assert.match(await refused(write("ok.sh", ""), "--name", "No!"), /invalid|lower-case/);
  });

  it("the API refuses a body that is no layer", async () => {
    const settings = encodeURIComponent(JSON.stringify({ name: "localhost/bad:1", base: "box:1" }));
    const built = await daemon.admin("POST", `/v1/images/build?settings=${settings}`, "no archive");
    assert.equal(built.status, 400, await built.text());
    const malformed = encodeURIComponent(
      JSON.stringify({ name: "localhost/bad:1", base: "box:1", changes: ["FROM x"] }),
    );
    assert.equal((await daemon.admin("POST", `/v1/images/build?settings=${malformed}`, "")).status, 400);
    const { items } = await (await daemon.admin("GET", "/v1/images")).json() as { items: { name: string }[] };
    assert.ok(!items.some(({ name }) => name.includes("bad")));
  });
});
