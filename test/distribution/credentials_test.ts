import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { parseReference } from "../../src/core/reference.ts";
import { type AskHelper, dockerConfigPath, dockerCredentials } from "../../src/distribution/credentials.ts";

describe("dockerCredentials()", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mayfly-credentials-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** A helper that knows everybody by its own name and whom it was asked for. */
  const asked: AskHelper = async (program, server) => ({ kind: "password", username: program, password: server });
  const auth = (name: string) => ({ auth: Buffer.from(`${name}:p:w`).toString("base64") });
  const find = async (config: unknown, reference: string) => {
    const path = join(folder, "config.json");
    await writeFile(path, typeof config === "string" ? config : JSON.stringify(config));
    const found = await dockerCredentials(path, parseReference(reference), asked);
    return found?.kind === "password" ? `${found.username}/${found.password}` : found;
  };

  const table: readonly [what: string, config: unknown, reference: string, wanted: unknown][] = [
    ["nothing", {}, "r.io/x", undefined],
    ["nulls", { auths: { "r.io": null }, credHelpers: null }, "r.io/x", undefined],
    ["a host", { auths: { "r.io": auth("a") } }, "r.io/x", "a/p:w"],
    ["a host with scheme and path", { auths: { "https://r.io/v1/": auth("a") } }, "r.io/x", "a/p:w"],
    ["a host with a port", { auths: { "r.io:5000": auth("a"), "r.io": auth("b") } }, "r.io:5000/x", "a/p:w"],
    ["another port", { auths: { "r.io:5000": auth("a") } }, "r.io/x", undefined],
    ["another host", { auths: { "evil-r.io": auth("a"), "r.io.evil": auth("b") } }, "r.io/x", undefined],
    ["Docker Hub by its old name", { auths: { "https://index.docker.io/v1/": auth("a") } }, "busybox", "a/p:w"],
    ["Docker Hub", { auths: { "docker.io": auth("a") } }, "busybox", "a/p:w"],
    ["a longer path", { auths: { "r.io": auth("a"), "r.io/x": auth("b") } }, "r.io/x/y", "b/p:w"],
    ["another path", { auths: { "r.io/x": auth("b") } }, "r.io/xy", undefined],
    ["name and password", { auths: { "r.io": { username: "u", password: "p" } } }, "r.io/x", "u/p"],
    ["an identity token", { auths: { "r.io": { ...auth("a"), identitytoken: "t" } } }, "r.io/x", {
      kind: "identity",
      token: "t",
    }],
    ["a token as a name", { auths: { "r.io": auth("<token>") } }, "r.io/x", { kind: "identity", token: "p:w" }],
    ["a store", { auths: { "r.io": {} }, credsStore: "pass" }, "r.io/x", "docker-credential-pass/r.io"],
    ["a store for Docker Hub", { credsStore: "pass" }, "busybox", "docker-credential-pass/https://index.docker.io/v1/"],
    ["a helper", { credHelpers: { "r.io": "ecr" }, credsStore: "x" }, "r.io/x", "docker-credential-ecr/r.io"],
    ["another's helper", { credHelpers: { "s.io": "ecr" } }, "r.io/x", undefined],
  ];
  for (const [what, config, reference, wanted] of table) {
    it(`reads ${what}`, async () => assert.deepEqual(await find(config, reference), wanted));
  }

  for (const config of ["", "5", '{"auths":{"r.io":{"auth":5}}}', { auths: { "r.io": { auth: "c2VjcmV0" } } }]) {
    it(`refuses ${JSON.stringify(config)} without repeating it`, async () => {
      await assert.rejects(find(config, "r.io/x"), (error: unknown) => {
        assert.equal((error as { code?: string }).code, "failed_precondition");
        assert.match((error as Error).message, /^cannot read credentials from ".*config\.json": /);
        assert.doesNotMatch((error as Error).message, /secret|c2V/);
        return true;
      });
    });
  }

  it("finds none where there is no file", async () => {
    assert.equal(await dockerCredentials(join(folder, "none/config.json"), parseReference("x"), asked), undefined);
  });
});

describe("dockerConfigPath()", () => {
  it("is where Docker has it", () => {
    assert.equal(dockerConfigPath({ DOCKER_CONFIG: "/etc/d", HOME: "/home/a" }), "/etc/d/config.json");
    assert.equal(dockerConfigPath({ HOME: "/home/a" }), "/home/a/.docker/config.json");
    assert.equal(dockerConfigPath({}), "/root/.docker/config.json");
  });
});
