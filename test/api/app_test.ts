import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createClient } from "../../src/api/client.ts";
import { decodeFrames } from "../../src/core/stdio_frames.ts";
import { version } from "../../src/version.ts";
import { World } from "../support/world.ts";

const token = "a-token-for-this-test";

describe("the admin API", () => {
  let world: World;

  before(async () => {
    world = await World.open({ "admin-tcp": "true" }, { MAYFLY_ADMIN_TOKEN: token });
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  /** Asks, and returns status and problem. */
  async function refused(method: string, path: string, body?: unknown) {
    const answer = await world.ask(method, path, body);
    assert.equal(answer.headers.get("content-type"), "application/problem+json", await answer.clone().text());
    const { status, code, field, detail } = await answer.json() as Record<string, unknown>;
    assert.equal(status, answer.status);
    return { status, code, field, detail: String(detail), allow: answer.headers.get("allow") };
  }

  it("creates, shows, lists, replaces and removes a function", async () => {
    const created = await world.ask("PUT", "/v1/functions/one", { image: "box:1", env: { A: "b" } });
    assert.equal(created.status, 201);
    const record = await created.json();
    assert.deepEqual([record.name, record.namespace, record.revision, record.env], ["one", "default", 1, { A: "b" }]);
    assert.match(record.digest, /^sha256:[0-9a-f]{64}$/);
    assert.equal(new Date(record.createdAt).toISOString(), record.createdAt);
    assert.equal((await world.ask("PUT", "/v1/functions/one", { image: "box:1" })).status, 200);
    const shown = await world.admin<{ revision: number; env: unknown }>("GET", "/v1/functions/one");
    assert.deepEqual([shown.revision, shown.env], [2, {}]);
    const { items } = await world.admin<{ items: { name: string }[] }>("GET", "/v1/functions");
    assert.deepEqual(items.map(({ name }) => name), ["one"]);
    assert.equal((await world.ask("DELETE", "/v1/functions/one")).status, 204);
    assert.equal((await refused("DELETE", "/v1/functions/one")).status, 404);
    assert.equal((await refused("GET", "/v1/functions/one")).status, 404);
  });

  for (
    const [name, input, field, pattern] of [
      ["an unknown field", { image: "box:1", memory: 5 }, "memory", /unknown field "memory"/],
      [
        "a number out of range",
        { image: "box:1", memoryBytes: 5 },
        "memoryBytes",
        /"memoryBytes" is 5: wanted >=4194304/,
      ],
      ["a wrong type", { image: "box:1", timeoutMs: "1s" }, "timeoutMs", /"timeoutMs" is "1s": wanted number/],
      ["a wrong item", { image: "box:1", command: ["a", 1] }, "command.1", /"command.1" is 1: wanted string/],
      ["a missing image", {}, "image", /"image" is missing/],
      ["a malformed image", { image: "Box!" }, undefined, /cannot parse image reference "Box!"/],
      ["an unknown user", { image: "box:1", user: "nobody" }, "user", /"nobody"/],
      [
        "an unknown runtime",
        { image: "box:1", runtime: "vm" },
        "runtime",
        /no runtime "vm" is running: there are native/,
      ],
      ["an unknown snapshotter", { image: "box:1", snapshotter: "zfs" }, "snapshotter", /"zfs"/],
      ["a list", [], "image", /"image" is missing/],
      ["no JSON", "{", undefined, /no JSON/],
    ] as const
  ) {
    it(`refuses to deploy ${name}`, async () => {
      const problem = await refused("PUT", "/v1/functions/bad", input);
      assert.deepEqual([problem.status, problem.code, problem.field], [400, "invalid_argument", field]);
      assert.match(problem.detail, pattern);
      assert.equal((await world.ask("GET", "/v1/functions/bad")).status, 404);
    });
  }

  for (
    const [method, path, status] of [
      ["PUT", "/v1/functions/Bad", 400],
      ["PUT", "/v1/functions/bad?namespace=Bad", 400],
      ["GET", "/v1/functions?limit=3", 400],
      ["GET", "/v1/invocations?limit=0", 400],
      ["GET", "/v1/invocations?limit=x", 400],
      ["GET", "/v1/invocations/01nothing", 404],
      ["GET", "/v1/functions/nothing/logs", 404],
      ["GET", "/v1/nothing", 404],
      ["GET", "/", 404],
      ["PATCH", "/v1/functions/x", 405],
      ["POST", "/v1/info", 405],
      ["GET", "/async/calls/", 404],
      ["DELETE", "/v1/images?name=nothing:1", 404],
      ["DELETE", "/v1/images", 400],
      ["POST", "/v1/run?settings=x", 400],
    ] as const
  ) {
    it(`answers ${method} ${path} with ${status}`, async () => {
      const body = method === "PUT" ? { image: "box:1" } : undefined;
      assert.equal((await refused(method, path, body)).status, status);
    });
  }

  it("names the methods that are allowed", async () => {
    assert.equal((await refused("PATCH", "/v1/functions/x")).allow, "GET, PUT, DELETE");
  });

  it("takes no body over 1 MiB", async () => {
    const problem = await refused("PUT", "/v1/functions/x", { image: "x".repeat(1024 * 1024) });
    assert.deepEqual([problem.status, problem.code], [413, "resource_exhausted"]);
  });

  it("lists and removes images", async () => {
    const names = async () =>
      (await world.admin<{ items: { name: string }[] }>("GET", "/v1/images")).items.map(({ name }) => name);
    await world.admin("POST", "/v1/images/import", { path: join(world.folder, "layout"), name: "other:2" });
    assert.deepEqual((await names()).toSorted(), ["docker.io/library/box:1", "docker.io/library/other:2"]);
    await world.admin("DELETE", "/v1/images?name=other:2");
    assert.deepEqual(await names(), ["docker.io/library/box:1"]);
    assert.equal((await refused("POST", "/v1/images/import", { path: "relative" })).field, "path");
    assert.ok((await refused("POST", "/v1/images/import", { path: "/nonexistent" })).status < 500);
  });

  it("tells of a pull that fails in its last line", async () => {
    const answer = await world.ask("POST", "/v1/images", { reference: "127.0.0.1:1/nothing:1" });
    assert.deepEqual([answer.status, answer.headers.get("content-type")], [200, "application/jsonl"]);
    const lines = (await answer.text()).trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.equal(lines.at(-1).error.code, "unavailable");
    assert.equal((await refused("POST", "/v1/images", { reference: "Box!" })).status, 400);
  });

  it("describes the daemon", async () => {
    const info = await world.admin<{ version: string; root: string; host: { name: string } }>("GET", "/v1/info");
    assert.deepEqual([info.version, info.root], [version, join(world.folder, "root")]);
    const { items } = await world.admin<{ items: { kind: string; id: string; state: string }[] }>("GET", "/v1/plugins");
    assert.ok(items.some(({ kind, id, state }) => kind === "runtime" && id === "native" && state === "running"));
    assert.equal((await world.ask("GET", "/healthz")).headers.get("x-mayfly-version"), version);
    assert.equal((await world.ask("GET", "/v1/info")).headers.get("x-mayfly-version"), version);
    assert.match(
      (await world.ask("GET", "/metrics")).headers.get("content-type") ?? "",
      /^text\/plain; version=0\.0\.4/,
    );
  });

  it("runs a container once, with its streams as frames", async () => {
    const settings = { image: "box:1", command: ["/bin/sh", "-c", "echo out; echo err >&2; cat; exit 7"] };
    const path = `/v1/run?settings=${encodeURIComponent(JSON.stringify(settings))}`;
    const answer = await world.ask("POST", path, "from stdin");
    assert.equal(answer.status, 200);
    const seen = { stdout: "", stderr: "", result: "" };
    for await (const { channel, payload } of decodeFrames(answer.body ?? new ReadableStream())) {
      seen[channel] += new TextDecoder().decode(payload);
    }
    assert.deepEqual([seen.stdout, seen.stderr], ["out\nfrom stdin", "err\n"]);
    assert.deepEqual(JSON.parse(seen.result), { exit: { code: 7, oomKilled: false } });
  });

  it("lists, creates and removes namespaces", async () => {
    const list = async () =>
      (await world.admin<{ items: { name: string }[] }>("GET", "/v1/namespaces")).items.map(({ name }) => name);
    assert.deepEqual(await list(), ["default"]);
    await world.admin("POST", "/v1/namespaces", { name: "team" });
    await world.admin("POST", "/v1/images/import?namespace=other", { path: join(world.folder, "layout"), name: "b:1" });
    assert.deepEqual(await list(), ["default", "other", "team"]);
    await world.admin("DELETE", "/v1/namespaces/team");
    assert.equal((await refused("DELETE", "/v1/namespaces/team")).status, 404);
    for (const name of ["other", "default"]) {
      assert.equal((await refused("DELETE", `/v1/namespaces/${name}`)).code, "failed_precondition");
    }
    await world.admin("DELETE", "/v1/images?namespace=other&name=b:1");
    await world.admin("DELETE", "/v1/namespaces/other");
    assert.deepEqual(await list(), ["default"]);
  });

  it("has a typed client whose path parameters stay what they are", async () => {
    const paths: string[] = [];
    const client = createClient((request) => {
      paths.push(new URL(request.url).pathname);
      return Promise.resolve(new Response("{}"));
    });
    await client.v1.functions[":name"].$get({ param: { name: "a/b?c %2F" }, query: {} });
    assert.deepEqual(paths, ["/v1/functions/a%2Fb%3Fc%20%252F"]);
  });

  it("has a typed client", async () => {
    const client = createClient((request) => world.ask(request.method, request.url.replace("http://mayfly", "")));
    const { items } = await (await client.v1.images.$get({ query: {} })).json();
    assert.equal(items[0]?.name, "docker.io/library/box:1");
    const answer = await client.v1.functions[":name"].$get({ param: { name: "nothing" }, query: {} });
    assert.equal(answer.status, 404);
  });

  it("is open over TCP to its token, and to nobody else", async () => {
    const ask = async (headers: Record<string, string>) => (await fetch(`${world.url}/v1/info`, { headers })).status;
    assert.equal(await ask({ authorization: `Bearer ${token}` }), 200);
    assert.equal(await ask({}), 401);
    assert.equal(await ask({ authorization: "Bearer another-token-of-it" }), 401);
    assert.equal((await fetch(`${world.url}/metrics`)).status, 401);
    assert.equal((await world.curl("/healthz")).status, 200);
  });

  it("serves no page from elsewhere and no other name over TCP", async () => {
    assert.equal((await world.curl("/healthz", "-H", "Host: evil.example")).status, 403);
    assert.equal((await world.curl("/fn/x", "-H", "Origin: https://evil.example")).status, 403);
    assert.equal((await world.curl("/fn/x")).status, 404);
  });
});
