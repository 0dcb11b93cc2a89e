import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import type { ImageConfig } from "../../src/core/descriptor.ts";
import { codeOf } from "../../src/core/errors.ts";
import { SpecSchema } from "../../src/core/spec.ts";
import { defaultCapabilities } from "../../src/tasks/capabilities.ts";
import { generateSpec, hostnameOf, type SpecSettings, specTemplate, withRequest } from "../../src/tasks/spec.ts";

const image = (config: ImageConfig["config"] = {}): ImageConfig => ({
  os: "linux",
  architecture: "amd64",
  config,
  rootfs: { type: "layers", diff_ids: [] },
});
const id = "0192f0c1-task-abc_def";
const generate = (config: ImageConfig["config"], settings: SpecSettings = {}) =>
  generateSpec({ image: image(config), settings, id });
const refused = (error: unknown) => codeOf(error) === "invalid_argument";

describe("generateSpec()", () => {
  it("makes what the schema of the specification takes", () => {
    const spec = generate({ Cmd: ["/bin/sh"] }, { memoryBytes: 2 ** 28, cpus: 0.5, pids: 64 });
    assert.deepEqual(v.parse(SpecSchema, JSON.parse(JSON.stringify(spec))).linux.resources, spec.linux.resources);
  });

  const commands: readonly [config: ImageConfig["config"], settings: SpecSettings, args: string[]][] = [
    [{ Entrypoint: ["e"], Cmd: ["c"] }, {}, ["e", "c"]],
    [{ Entrypoint: ["e"], Cmd: ["c"] }, { args: ["a"] }, ["e", "a"]],
    [{ Entrypoint: ["e"], Cmd: ["c"] }, { args: [] }, ["e"]],
    [{ Entrypoint: ["e"], Cmd: ["c"] }, { command: ["x"] }, ["x"]],
    [{ Entrypoint: ["e"], Cmd: ["c"] }, { command: ["x"], args: ["a"] }, ["x", "a"]],
    [{ Cmd: ["c"] }, {}, ["c"]],
    [{ Entrypoint: null, Cmd: null }, { args: ["a"] }, ["a"]],
  ];
  for (const [config, settings, args] of commands) {
    it(`runs ${JSON.stringify(args)} for ${JSON.stringify({ ...config, ...settings })}`, () => {
      assert.deepEqual(generate(config, settings).process.args, args);
    });
  }

  it("refuses an image that has nothing to run", () => {
    for (const config of [undefined, null, {}, { Cmd: [] }, { Cmd: [""] }]) {
      assert.throws(() => generateSpec({ image: { ...image(), config }, id }), refused);
    }
  });

  it("puts the caller's environment over the image's, and that over the defaults", () => {
    const env = generate({ Cmd: ["c"], Env: ["PATH=/image", "A=1", "B=x=y", "=no"] }, { env: { A: "2" } }).process.env;
    assert.deepEqual(env, ["PATH=/image", "HOME=/", "A=2", "B=x=y", `HOSTNAME=${hostnameOf(id)}`]);
  });

  it("leaves capabilities to root alone", () => {
    const root = generate({ Cmd: ["c"] }).process.capabilities;
    const other = generate({ Cmd: ["c"], User: "1000" }).process.capabilities;
    assert.deepEqual(root?.effective, defaultCapabilities);
    assert.deepEqual([other?.effective, other?.permitted], [[], []]);
    assert.deepEqual(other?.bounding, defaultCapabilities);
  });

  it("takes the working folder from the settings, else the image", () => {
    assert.equal(generate({ Cmd: ["c"] }).process.cwd, "/");
    assert.equal(generate({ Cmd: ["c"], WorkingDir: "app" }).process.cwd, "/app");
    assert.equal(generate({ Cmd: ["c"], WorkingDir: "/app" }, { workdir: "/w" }).process.cwd, "/w");
  });

  it("limits memory and swap together, and the processors' time", () => {
    const { memory, cpu, pids } = generate({ Cmd: ["c"] }, { memoryBytes: 1e8, cpus: 1.5, pids: 9 }).linux.resources ??
      {};
    assert.deepEqual([memory, cpu, pids], [
      { limit: 1e8, swap: 1e8 },
      { quota: 150_000, period: 100_000 },
      { limit: 9 },
    ]);
    assert.equal(generate({ Cmd: ["c"] }).linux.resources?.memory, undefined);
  });

  it("refuses NUL bytes from an image", () => {
    assert.throws(() => generate({ Cmd: ["a\0b"] }), refused);
    assert.throws(() => generate({ Cmd: ["c"], Env: ["A=\0"] }), refused);
    assert.throws(() => generate({ Cmd: ["c"], WorkingDir: "/\0" }), refused);
  });
});

describe("withRequest()", () => {
  const template = specTemplate(generate({ Cmd: ["c"], Env: ["A=1", "B=2"] }));
  const spec = withRequest(template, { id: "another-0123456789ab", env: { B: "3", C: "4" } });

  it("changes id and environment", () => {
    assert.equal(spec.hostname, "0123456789ab");
    assert.deepEqual(spec.process.env?.slice(2), ["A=1", "B=3", "HOSTNAME=0123456789ab", "C=4"]);
  });

  it("shares what is constant, so that what is compiled from it is found by identity", () => {
    assert.equal(spec.linux, template.spec.linux);
    assert.equal(spec.mounts, template.spec.mounts);
  });

  it("does not touch the template", () => {
    assert.deepEqual(template.spec.process.env?.slice(2), ["A=1", "B=2", `HOSTNAME=${hostnameOf(id)}`]);
    assert.equal(template.spec.hostname, hostnameOf(id));
  });
});

describe("hostnameOf()", () => {
  const names: readonly [id: string, hostname: string][] = [
    ["abc", "abc"],
    ["0123456789abcdef", "456789abcdef"],
    ["a.b_c", "a-b-c"],
    ["------------", "mayfly"],
  ];
  for (const [given, hostname] of names) it(`${given} is ${hostname}`, () => assert.equal(hostnameOf(given), hostname));
});
