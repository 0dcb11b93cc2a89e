import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";
import { RegistryClient, registryEnv, registryFlags, tokens } from "./client.ts";

const run = promisify(execFile);

const login = `default:${tokens.default}`;

describe("clients of the registry", () => {
  let world: World;
  let folder: string;
  let layout: string;
  let client: RegistryClient;
  before(async () => {
    world = await World.open(registryFlags, registryEnv);
    client = new RegistryClient(world.registry);
    folder = mkdtempSync(join(tmpdir(), "mayfly-clients-"));
    layout = `oci:${join(world.folder, "layout")}:box:1`;
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const skopeo = async (...args: string[]) => (await run("skopeo", ["--insecure-policy", ...args])).stdout;
  const from = ["--src-tls-verify=false", `--src-creds=${login}`];
  const to = ["--dest-tls-verify=false", `--dest-creds=${login}`];
  const there = (name: string) => `docker://${world.registry}/${name}`;
  const answerOf = async (name: string) => (await world.curl(`/fn/${name}`, "-d", "hello")).body;

  it("skopeo pushes, inspects, pulls and deletes", async () => {
    await skopeo("copy", ...to, layout, there("skopeo/box:1"));
    const inspected = JSON.parse(
      await skopeo("inspect", "--tls-verify=false", `--creds=${login}`, there("skopeo/box:1")),
    );
    assert.deepEqual(inspected.RepoTags, ["1"]);
    const copy = join(folder, "copy");
    await skopeo("copy", ...from, there("skopeo/box:1"), `oci:${copy}:1`);
    const digest = async (where: string, ...more: string[]) =>
      (await skopeo("inspect", "--format", "{{.Digest}}", ...more, where)).trim();
    assert.equal(await digest(`oci:${copy}:1`), inspected.Digest);
    await skopeo("delete", "--tls-verify=false", `--creds=${login}`, there("skopeo/box:1"));
    await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", "skopeo/box/manifests/1");
  });

  it("what skopeo pushes runs at once, by each of its names", async () => {
    await skopeo("copy", ...to, "--format", "v2s2", layout, there("run/box:1"));
    const names = [
      "localhost/run/box:1",
      `${world.registry}/run/box:1`,
      `localhost:${world.registry.split(":")[1]}/run/box:1`,
    ];
    const { headers } = await client.expect(200, "HEAD", "run/box/manifests/1");
    names.push(`localhost/run/box@${headers.get("docker-content-digest")}`);
    for (const [i, image] of names.entries()) {
      await world.admin("PUT", `/v1/functions/pushed-${i}`, { image, command: ["tr", "a-z", "A-Z"] });
      assert.equal(await answerOf(`pushed-${i}`), "HELLO", image);
    }
    const { items } = await world.admin<{ items: { name: string }[] }>("GET", "/v1/images");
    assert.ok(items.some(({ name }) => name === "localhost/run/box:1"));
    assert.equal((await world.ask("PUT", "/v1/functions/missing", { image: "localhost/never/pushed" })).status, 404);
  });

  it("what was pushed is not pulled from elsewhere", async () => {
    await skopeo("copy", ...to, layout, there("here/box:1"));
    const pull = async (reference: string) =>
      await (await world.ask("POST", "/v1/images", { reference, snapshotter: "native" })).text();
    assert.match(await pull(`${world.registry}/here/box:1`), /"name":"localhost\/here\/box:1"/);
    assert.match(await pull(`${world.registry}/here/missing:1`), /"code":"not_found"/);
    assert.match(await pull(`localhost/here/box@sha256:${"0".repeat(64)}`), /"code":"not_found"/);
  });

  it("a namespace runs its own", async () => {
    await skopeo("copy", "--dest-tls-verify=false", `--dest-creds=team:${tokens.team}`, layout, there("own/box:1"));
    const image = "localhost/own/box:1";
    assert.equal((await world.ask("PUT", "/v1/functions/own", { image, command: ["cat"] })).status, 404);
    await world.admin("PUT", "/v1/functions/own?namespace=team", { image, command: ["cat"] });
  });

  it("what is named here otherwise can be pulled", async () => {
    await world.admin("POST", "/v1/images/import", {
      path: join(world.folder, "layout"),
      name: "localhost/imported:1",
    });
    assert.deepEqual(JSON.parse((await client.expect(200, "GET", "imported/tags/list")).text).tags, ["1"]);
    await skopeo("copy", ...from, there("imported:1"), `oci:${join(folder, "imported")}:1`);
    // Its content as well, whatever is asked for first, and by many at once.
    const { items } = await world.admin<{ items: { name: string; target: { digest: string } }[] }>("GET", "/v1/images");
    const digest = items.find(({ name }) => name === "localhost/imported:1")?.target.digest;
    await world.admin("POST", "/v1/images/tag", { name: "localhost/imported:1", target: "localhost/also/imported:1" });
    await Promise.all([1, 2, 3].map(() => client.expect(200, "HEAD", `also/imported/manifests/${digest}`)));
    await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", "also/imported/manifests/2");
    await world.admin("POST", "/v1/images/tag", { name: "localhost/imported:1", target: "localhost/never/seen:2" });
    const { config } = JSON.parse((await client.expect(200, "GET", `never/seen/manifests/${digest}`)).text);
    await client.expect(200, "HEAD", `never/seen/blobs/${config.digest}`);
    await world.admin("DELETE", "/v1/images?name=localhost/imported:1");
    await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", "imported/manifests/1");
  });

  it("an image that is tagged or pushed to one of its own names can be pulled", async () => {
    await world.admin("POST", "/v1/images/tag", { name: "box:1", target: `${world.registry}/named/box:1` });
    await (await world.ask("POST", "/v1/images/push", { name: "box:1", to: `${world.registry}/named/box:2` })).text();
    assert.deepEqual(JSON.parse((await client.expect(200, "GET", "named/box/tags/list")).text).tags, ["1", "2"]);
    await skopeo("copy", ...from, there("named/box:2"), `oci:${join(folder, "named")}:2`);
  });

  it("buildah builds and pushes", async () => {
    writeFileSync(join(folder, "Containerfile"), 'FROM scratch\nADD rootfs /\nENV PATH=/bin\nCMD ["cat"]\n');
    const state = [
      "--root",
      join(folder, "buildah"),
      "--runroot",
      join(folder, "buildah-run"),
      "--storage-driver",
      "vfs",
    ];
    const build = [
      "build",
      "--isolation",
      "chroot",
      "-q",
      "-t",
      "built",
      "-f",
      join(folder, "Containerfile"),
      world.folder,
    ];
    await run("buildah", [...state, ...build]);
    await run("buildah", [
      ...state,
      "push",
      "-q",
      "--tls-verify=false",
      `--creds=${login}`,
      "built",
      there("buildah/box:1"),
    ]);
    await world.admin("PUT", "/v1/functions/built", { image: "localhost/buildah/box:1" });
    assert.equal(await answerOf("built"), "hello");
    await run("buildah", [...state, "rmi", "-a", "-f"]);
  });

  it("podman pulls and pushes", async () => {
    await skopeo("copy", ...to, layout, there("podman/box:1"));
    const state = [
      "--root",
      join(folder, "podman"),
      "--runroot",
      join(folder, "podman-run"),
      "--storage-driver",
      "vfs",
    ];
    const access = ["-q", "--tls-verify=false", `--creds=${login}`];
    await run("podman", [...state, "pull", ...access, `${world.registry}/podman/box:1`]);
    await run("podman", [...state, "push", ...access, `${world.registry}/podman/box:1`, there("podman/box:2")]);
    assert.deepEqual(JSON.parse((await client.expect(200, "GET", "podman/box/tags/list")).text).tags, ["1", "2"]);
    await run("podman", [...state, "rmi", "-a", "-f"]);
  });

  describe("beside docker-registry", () => {
    let peer: TestRegistry;
    before(async () => void (peer = await startRegistry()));
    after(() => peer?.[Symbol.asyncDispose]());

    it("images go there and back, the same", async () => {
      await peer.push(layout, "box:1");
      const elsewhere = `docker://${peer.host}/box`;
      await skopeo("copy", "--src-tls-verify=false", ...to, `${elsewhere}:1`, there("peer/box:1"));
      await skopeo("copy", "--dest-tls-verify=false", ...from, there("peer/box:1"), `${elsewhere}:2`);
      const manifest = (tag: string) => skopeo("inspect", "--raw", "--tls-verify=false", `${elsewhere}:${tag}`);
      const raw = await skopeo("inspect", "--raw", "--tls-verify=false", `--creds=${login}`, there("peer/box:1"));
      assert.deepEqual([await manifest("1"), await manifest("2")], [raw, raw]);
    });
  });

  it("frees what was deleted", async () => {
    const { layer, descriptor } = await client.artifact("gone/soon", "no image needs it", { reference: "1" });
    const blob = join(world.folder, "root/content/blobs", layer.digest.replace(":", "/"));
    await client.expect(202, "DELETE", `gone/soon/manifests/${descriptor.digest}`);
    await client.expect(200, "HEAD", `gone/soon/blobs/${layer.digest}`);
    await client.expect(202, "DELETE", `gone/soon/blobs/${layer.digest}`);
    await until(() => !existsSync(blob));
  });
});
