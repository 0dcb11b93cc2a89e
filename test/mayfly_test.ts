import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { Hono } from "hono";
import { codeOf } from "../src/core/errors.ts";
import type { Listener } from "../src/core/host.ts";
import { currentHost } from "../src/host/mod.ts";
import { type Mayfly, open } from "../src/mayfly.ts";
import { makeBusyboxImage } from "./support/busybox_image.ts";
import { until } from "./support/until.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (text: Uint8Array) => new TextDecoder().decode(text);

describe("the library", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-library-"));
  const options = {
    root: join(folder, "root"),
    run: join(folder, "run"),
    listen: "off",
    logLevel: "warn",
    plugins: { "runtime/native": { cgroupParent: `/mayfly-test-${process.pid}` } },
  } as const;
  let mayfly: Mayfly;
  let listener: Listener;
  let url: string;
  const script = (name: string, text: string) =>
    mayfly.deploy(name, { image: "box:1", command: ["/bin/sh", "-c", text] });
  const post = (body: BodyInit, path = "/") => new Request(`http://any${path}`, { method: "POST", body });

  before(async () => {
    mayfly = await open(options);
    const [image] = await mayfly.import(makeBusyboxImage(folder, "box:1"));
    assert.equal(image?.name, "docker.io/library/box:1");
    await script("upper", "tr a-z A-Z");
    await script("where", 'echo "$SCRIPT_NAME|$PATH_INFO|$QUERY_STRING"');
    const server = new Hono();
    server.get("/", (c) => c.text("a program of one's own"));
    server.route("/jobs/of/:who", mayfly.functions);
    server.mount("/mounted", mayfly.functions.fetch);
    server.use("/root/*", async (c, next) => {
      if (c.req.header("authorization") !== "Bearer its own") return c.text("no", 401);
      return await next();
    });
    server.route("/root", mayfly.admin);
    listener = await (await currentHost()).serve(
      { hostname: "127.0.0.1", port: 0 },
      (request) => server.fetch(request),
    );
    url = `http://127.0.0.1:${listener.port}`;
  });
  after(async () => {
    await listener?.close({ force: true });
    await mayfly?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("open() refuses what is no option, and a root that is open", async () => {
    await assert.rejects(open({ ...options, maxConcurrency: 0 }), /"maxConcurrency" in the program's options is 0/);
    const misspelt: object = { maxConcurency: 1 };
    await assert.rejects(open(misspelt), /unknown key "maxConcurency"/);
    await assert.rejects(open(options), (error) => codeOf(error) === "failed_precondition");
  });

  it("invoke() answers as over HTTP, and throws nothing", async () => {
    const answer = await mayfly.invoke("upper", post("hello"));
    assert.equal(await answer.text(), "HELLO");
    assert.match(answer.headers.get("x-mayfly-invocation") ?? "", /./);
    assert.equal(
      await (await mayfly.invoke("where", post("", "/a%20b/c?d=e"))).text(),
      "/fn/where.default|/a b/c|d=e\n",
    );
    const none = await mayfly.invoke("none", post(""));
    assert.equal(none.status, 404);
    assert.equal((await none.json() as { code: string }).code, "not_found");
    assert.equal((await mayfly.invoke("../v1", post(""))).status, 400);
  });

  it("invoke() needs no token, where callers of the app do", async () => {
    await mayfly.deploy("guarded", { image: "box:1", command: ["echo", "in"], auth: "token" });
    assert.equal(await (await mayfly.invoke("guarded", post(""))).text(), "in\n");
    assert.equal((await fetch(`${url}/jobs/of/me/fn/guarded`)).status, 401);
  });

  it("invoke() streams both ways", async () => {
    await script("cat", "cat");
    const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
    const init = { method: "POST", body: readable, duplex: "half" } as const;
    const answering = mayfly.invoke("cat", new Request("http://any/", init));
    const writer = writable.getWriter();
    await writer.write(bytes("one "));
    const reader = (await answering).body?.getReader();
    assert.equal(textOf((await reader?.read())?.value ?? bytes("")), "one ");
    await writer.write(bytes("two"));
    await writer.close();
    assert.equal(textOf((await reader?.read())?.value ?? bytes("")), "two");
    assert.equal((await reader?.read())?.done, true);
  });

  it("list() and remove() show and forget functions, in a namespace", async () => {
    await mayfly.import(join(folder, "layout"), { namespace: "team" });
    await mayfly.deploy("mine", { image: "box:1", command: ["echo", "mine"] }, { namespace: "team" });
    assert.deepEqual((await mayfly.list({ namespace: "team" })).map(({ name }) => name), ["mine"]);
    assert.ok(!(await mayfly.list()).some(({ name }) => name === "mine"));
    assert.equal(await (await mayfly.invoke("mine", post(""), { namespace: "team" })).text(), "mine\n");
    await mayfly.remove("mine", { namespace: "team" });
    await assert.rejects(mayfly.remove("mine", { namespace: "team" }), (error) => codeOf(error) === "not_found");
    assert.deepEqual((await mayfly.images({ namespace: "team" })).map(({ name }) => name), ["docker.io/library/box:1"]);
  });

  it("run() gives a container's output and its end", async () => {
    const input = (text: string) => ({ image: "box:1", command: ["/bin/sh", "-c", text] });
    const ran = await mayfly.run(input("cat; echo no >&2; exit 3"), { stdin: "yes" });
    assert.deepEqual([ran.code, ran.oomKilled, textOf(ran.stdout), textOf(ran.stderr)], [3, false, "yes", "no\n"]);
    let seen = "";
    const sink = new WritableStream<Uint8Array>({ write: (part) => void (seen += textOf(part)) });
    assert.equal((await mayfly.run(input("seq 3"), { stdout: sink })).stdout.length, 0);
    assert.equal(seen, "1\n2\n3\n");
    await assert.rejects(
      mayfly.run(input("cat /dev/zero"), { maxOutputBytes: 1000 }),
      (error) => codeOf(error) === "resource_exhausted",
    );
    await assert.rejects(
      mayfly.run(input("exec sleep 60"), { signal: AbortSignal.abort() }),
      { name: "AbortError" },
    );
    await assert.rejects(mayfly.run({ ...input("sleep 60"), timeoutMs: 1 }), (error) => {
      return codeOf(error) === "deadline_exceeded";
    });
  });

  it("events() tells what happens from the call on, and ends", async () => {
    const ending = new AbortController();
    const events = mayfly.events({ topics: ["/functions/"], signal: ending.signal });
    await script("told", "true");
    await mayfly.remove("told");
    const topics: string[] = [];
    for await (const { topic, data } of events) {
      topics.push(`${topic} ${data["name"]}`);
      if (topics.length === 2) ending.abort();
    }
    assert.deepEqual(topics, ["/functions/create told", "/functions/delete told"]);
  });

  it("client asks for everything else", async () => {
    const { items } = await (await mayfly.client.v1.functions.$get({ query: {} })).json();
    assert.ok(items.some(({ name }) => name === "upper"));
  });

  it("functions is mounted under any path of a server", async () => {
    assert.equal(await (await fetch(url)).text(), "a program of one's own");
    const answer = await fetch(`${url}/jobs/of/me/fn/upper`, { method: "POST", body: "over http" });
    assert.equal(await answer.text(), "OVER HTTP");
    const where = await fetch(`${url}/jobs/of/me/fn/where/a?b`);
    assert.equal(await where.text(), "/jobs/of/me/fn/where|/a|b\n");
    const mounted = await fetch(`${url}/mounted/fn/upper`, { method: "POST", body: "mounted" });
    assert.equal(await mounted.text(), "MOUNTED");
    const none = await fetch(`${url}/jobs/of/me/fn/none`);
    assert.equal(none.status, 404);
    assert.equal(none.headers.get("content-type"), "application/problem+json");
  });

  it("functions leaves a server alone in whose root it is mounted", async () => {
    const server = new Hono().route("/", mayfly.functions).get("/own", (c) => c.text("own"));
    const own = await server.request("/own");
    assert.deepEqual([await own.text(), own.headers.get("x-request-id")], ["own", null]);
    assert.equal((await server.request("/v1/functions")).status, 404);
    const answer = await server.request("/fn/upper", { method: "POST", body: "hello" });
    assert.equal(await answer.text(), "HELLO");
  });

  it("functions answers asynchronous calls with addresses of that server", async () => {
    for (
      const [path, headers] of [["/async/fn/upper", {}], ["/fn/upper", { prefer: "respond-async" }]] as const
    ) {
      const accepted = await fetch(`${url}/jobs/of/me${path}`, { method: "POST", body: "later", headers });
      assert.equal(accepted.status, 202);
      const { answer } = await accepted.json() as { answer: string };
      assert.match(answer, /^\/jobs\/of\/me\/async\/calls\//);
      const done = await until(async () => {
        const asked = await fetch(url + answer);
        const text = await asked.text();
        return asked.status === 200 ? text : undefined;
      });
      assert.equal(done, "LATER");
    }
  });

  it("functions has nothing of the admin API; admin is there for who mounts it", async () => {
    for (const path of ["/v1/functions", "/metrics", "/openapi.json"]) {
      assert.equal((await fetch(`${url}/jobs/of/me${path}`)).status, 404, path);
    }
    assert.equal((await fetch(`${url}/root/v1/functions`)).status, 401);
    const admin = await fetch(`${url}/root/v1/functions`, { headers: { authorization: "Bearer its own" } });
    assert.ok((await admin.json() as { items: { name: string }[] }).items.some(({ name }) => name === "upper"));
  });

  it("drain() ends it, and the root can be opened again", async () => {
    await mayfly.drain();
    assert.equal((await mayfly.invoke("upper", post("late"))).status, 503);
    mayfly = await open(options);
    assert.equal(await (await mayfly.invoke("upper", post("again"))).text(), "AGAIN");
  });
});
