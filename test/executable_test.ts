import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { currentHost } from "../src/host/mod.ts";
import { version } from "../src/version.ts";
import { makeBusyboxImage } from "./support/busybox_image.ts";
import { MayflyProcess, stateFlags } from "./support/mayfly_process.ts";
import { startRegistry, type TestRegistry } from "./support/registry.ts";

const host = (await currentHost()).name;

describe("the single executable", { skip: host === "bun" ? false : "it has Bun in it" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-executable-"));
  const program = join(folder, "mayfly");
  // Its native part is put there.
  const env = { TMPDIR: folder };
  let registry: TestRegistry;
  let layout: string;
  const run = (args: readonly string[], input = "") =>
    spawnSync(program, args, { cwd: "/", encoding: "utf8", input, env: { ...process.env, ...env } });
  const out = (command: string, args: readonly string[], input = ""): string => {
    const { status, stdout, stderr } = run([command, ...stateFlags(folder), ...args], input);
    assert.equal(status, 0, `${command} ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  };

  before(async () => {
    execFileSync(process.execPath, [fileURLToPath(new URL("../src/build/executable.ts", import.meta.url)), program]);
    layout = makeBusyboxImage(folder, "box:1");
    registry = await startRegistry();
    await registry.push(`oci:${layout}:box:1`, "box:1");
  });
  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("says what it is, and what this machine can do", () => {
    assert.equal(run(["version"]).stdout.trim(), version);
    assert.match(run(["doctor"]).stdout, /ok +host +bun /);
    assert.match(run(["oci", "--version"]).stdout, /^mayfly version /);
  });

  it("serves, pulls, runs, deploys and invokes, and ends", async () => {
    await using daemon = await MayflyProcess.start(folder, ["--log-level", "warn"], env, [program]);
    const image = `${registry.host}/box:1`;
    out("pull", [image]);
    assert.equal(out("run", [image, "echo", "ran"]), "ran\n");
    out("deploy", ["upper", "--image", image, "--prepared", "1", "--", "tr", "a-z", "A-Z"]);
    assert.equal(out("invoke", ["upper", "--data", "hello"]), "HELLO");
    const answer = await fetch(`${daemon.url}/fn/upper`, { method: "POST", body: "over http" });
    assert.equal(await answer.text(), "OVER HTTP");
    assert.ok((await daemon.admin("GET", "/openapi.json")).ok);
    assert.equal(await daemon.end("SIGTERM"), 0);
  });

  it("does its work without a daemon, on the same state", () => {
    assert.equal(out("invoke", ["upper", "--data", "again"]), "AGAIN");
    out("import", [layout]);
    assert.match(out("images", []), /box:1/);
  });

  it("sends spans to a collector that its environment names", async () => {
    const collector = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", OTEL_TRACES_EXPORTER: "otlp" };
    await using daemon = await MayflyProcess.start(folder, ["--log-level", "error"], { ...env, ...collector }, [
      program,
    ]);
    assert.equal(await (await fetch(`${daemon.url}/fn/upper`, { method: "POST", body: "x" })).text(), "X");
    assert.equal(await daemon.end("SIGTERM"), 0);
  });
});
