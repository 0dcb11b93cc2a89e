import assert from "node:assert/strict";
import { decodeFrames } from "../../src/core/stdio_frames.ts";
import type { MayflyProcess } from "../support/mayfly_process.ts";
import type { Random } from "./random.ts";

/** What one verb works with. */
export interface VerbContext {
  readonly daemon: MayflyProcess;
  readonly random: Random;
  /** No other one has the same. */
  readonly name: string;
  /** The path of a layout whose image `box:1` is in the daemon. */
  readonly layout: string;
  /** Takes the id of a call that was accepted, so that it has to end well, whatever happens to the daemon. */
  accepted(id: string): void;
}

/** Does something and looks at its outcome. @throws when that is not what it should be. */
export type Verb = (context: VerbContext) => Promise<void>;

/** The functions that the verbs call. */
export const functions: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  echo: { command: ["/bin/cat"] },
  copied: { command: ["/bin/cat"], snapshotter: "native" },
  fails: { command: ["/bin/sh", "-c", "exit 3"] },
  late: { command: ["/bin/sleep", "60"], timeoutMs: 100 },
  eats: { command: ["/bin/sh", "-c", "cat /dev/zero | tail"], memoryBytes: 16 << 20, timeoutMs: 20_000 },
  // It goes on writing until somebody ends it.
  talks: { command: ["/bin/sh", "-c", "while true; do echo talk; sleep 0.01; done"] },
  orphans: { command: ["/bin/sh", "-c", "(sleep 1000; true) & (setsid sleep 1000; true) & sleep 0; echo left two"] },
};

/** What rounds make beside `box:1`: an image of two layers, and an artifact. */
const volumes = {
  mounts: [
    { type: "image", source: "data:1", target: "/data" },
    { type: "image", source: "files:1", target: "/file", subpath: "part/file" },
  ],
};

const waits = { image: "box:1", command: ["/bin/sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.05; done"] };

async function invoke({ daemon }: VerbContext, name: string, body = "x"): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${daemon.url}/fn/${name}`, { method: "POST", body });
  return { status: answer.status, text: await answer.text() };
}

/** Calls the admin API for something that has to succeed. */
async function admin<T>({ daemon }: VerbContext, method: string, path: string, body?: unknown): Promise<T> {
  const answer = await daemon.admin(method, path, body);
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** Waits up to some milliseconds: the point of it is to be anywhere in what goes on meanwhile. */
const anywhere = (random: Random, mostMs: number) => new Promise((go) => setTimeout(go, random.next() * mostMs));

/** Answers each connection with what it was asked for. */
const server = `printf '%s' '#!/bin/sh
read -r first; while read -r line && [ \${#line} -gt 1 ]; do :; done
printf "HTTP/1.1 200 OK\\r\\nconnection: close\\r\\n\\r\\n%s" "$first"' > /tmp/app
chmod 755 /tmp/app; exec nc -ll -p $PORT -e /tmp/app`;

/** Deploys a function for as long as something is done with it. */
async function deployed(context: VerbContext, settings: Record<string, unknown>, use: () => Promise<void>) {
  const path = `/v1/functions/${context.name}`;
  await admin(context, "PUT", path, { image: "box:1", env: { MAYFLY_FAULT: context.daemon.folder }, ...settings });
  await use();
  await admin(context, "DELETE", path);
}

const runSettings = (...command: string[]) =>
  encodeURIComponent(JSON.stringify({ image: "box:1", command, timeoutMs: 20_000 }));

export const verbs: Readonly<Record<string, Verb>> = {
  async "invoke"(context) {
    const body = "mayfly ".repeat(context.random.below(30_000));
    assert.deepEqual(await invoke(context, "echo", body), { status: 200, text: body });
  },

  async "invoke on a copy"(context) {
    assert.deepEqual(await invoke(context, "copied", "copy"), { status: 200, text: "copy" });
  },

  async "exit code"(context) {
    assert.equal((await invoke(context, "fails")).status, 500);
  },

  async "timeout"(context) {
    assert.equal((await invoke(context, "late")).status, 504);
  },

  async "out of memory"(context) {
    const { status, text } = await invoke(context, "eats");
    assert.equal(status, 500);
    assert.match(text, /memory/);
  },

  async "orphans"(context) {
    assert.deepEqual(await invoke(context, "orphans"), { status: 200, text: "left two\n" });
  },

  async "client disconnects"({ daemon, random }) {
    const gone = new AbortController();
    const answer = fetch(`${daemon.url}/fn/talks`, { signal: gone.signal }).then((answer) => answer.text());
    const [outcome] = await Promise.allSettled([
      answer,
      anywhere(random, 60).then(() => gone.abort()),
    ]);
    assert.equal(outcome.status, "rejected", JSON.stringify(outcome));
  },

  async "run"({ daemon }) {
    const path = `/v1/run?settings=${runSettings("/bin/sh", "-c", "echo out; echo err >&2; exit 4")}`;
    const answer = await daemon.admin("POST", path);
    assert.ok(answer.ok && answer.body !== null, String(answer.status));
    let result = "";
    for await (const { channel, payload } of decodeFrames(answer.body)) {
      if (channel === "result") result += new TextDecoder().decode(payload);
    }
    assert.match(result, /"code":4/);
  },

  async "run, and go"({ daemon, random }) {
    const gone = new AbortController();
    const path = `/v1/run?settings=${runSettings("/bin/sleep", "60")}`;
    const answer = daemon.admin("POST", path, undefined, { signal: gone.signal }).then((answer) => answer.text());
    const [outcome] = await Promise.allSettled([answer, anywhere(random, 60).then(() => gone.abort())]);
    assert.equal(outcome.status, "rejected", JSON.stringify(outcome));
  },

  async "deploy and delete"(context) {
    await deployed(context, { command: ["/bin/echo", context.name] }, async () => {
      assert.equal((await invoke(context, context.name)).text, `${context.name}\n`);
    });
  },

  async "prepared containers"(context) {
    await deployed(context, { command: ["/bin/cat"], prepared: 2 }, async () => {
      for (let n = 0; n < 3; n++) assert.deepEqual(await invoke(context, context.name), { status: 200, text: "x" });
    });
  },

  async "server"(context) {
    const settings = { command: ["/bin/sh", "-c", server], protocol: "http", minInstances: context.random.below(2) };
    await deployed(context, settings, async () => {
      for (let n = 0; n < 2; n++) {
        const answer = await fetch(`${context.daemon.url}/fn/${context.name}`);
        assert.deepEqual([answer.status, await answer.text()], [200, "GET / HTTP/1.1\r"]);
      }
    });
  },

  async "images in a function"(context) {
    const settings = { command: ["/bin/cat", "/data/two", "/file"], prepared: context.random.below(2), ...volumes };
    await deployed(context, settings, async () => {
      for (let n = 0; n < 2; n++) {
        assert.deepEqual(await invoke(context, context.name), { status: 200, text: "two file" });
      }
    });
  },

  async "images in a container"(context) {
    const path = `/v1/containers/${context.name}`;
    await admin(context, "POST", "/v1/containers", { ...waits, ...volumes, name: context.name });
    await admin(context, "POST", `${path}/start`);
    await anywhere(context.random, 20);
    if (context.random.below(2) === 0) await admin(context, "POST", `${path}/kill`);
    await admin(context, "DELETE", `${path}?force=true`);
  },

  async "images in a container that cannot start"(context) {
    await admin(context, "POST", "/v1/containers", {
      ...waits,
      ...volumes,
      workdir: "/etc/passwd",
      name: context.name,
    });
    assert.ok(!(await context.daemon.admin("POST", `/v1/containers/${context.name}/start`)).ok);
    await admin(context, "DELETE", `/v1/containers/${context.name}`);
  },

  async "secret"(context) {
    const { daemon, name } = context;
    const host = await daemon.admin("POST", `/v1/secrets/${name}`, name);
    assert.ok(host.ok, await host.text());
    await deployed(context, { command: ["/bin/cat", `/run/secrets/${name}`], secrets: [name] }, async () => {
      assert.deepEqual(await invoke(context, name), { status: 200, text: JSON.stringify(name) });
    });
    await admin(context, "DELETE", `/v1/secrets/${name}`);
  },

  async "asynchronous call"({ daemon, accepted }) {
    const answer = await fetch(`${daemon.url}/async/fn/echo`, { method: "POST", body: "later" });
    assert.equal(answer.status, 202, await answer.clone().text());
    accepted((await answer.json() as { id: string }).id);
  },

  async "container on a bridge"(context) {
    const path = `/v1/containers/${context.name}`;
    await admin(context, "POST", "/v1/containers", { ...waits, name: context.name, network: "bridge" });
    await admin(context, "POST", `${path}/start`);
    await admin(context, "DELETE", `${path}?force=true`);
  },

  async "import and remove"(context) {
    await admin(context, "POST", "/v1/images/import", { path: context.layout, name: `${context.name}:1` });
    await admin(context, "DELETE", `/v1/images?name=${context.name}:1`);
  },

  async "container's life"(context) {
    const { random, name } = context;
    const path = `/v1/containers/${name}`;
    await admin(context, "POST", "/v1/containers", { ...waits, name });
    await admin(context, "POST", `${path}/start`);
    if (random.below(2) === 0) {
      await admin(context, "POST", `${path}/pause`);
      await admin(context, "POST", `${path}/resume`);
    }
    await anywhere(random, 20);
    const end = random.below(3);
    if (end === 0) await admin(context, "POST", `${path}/stop?graceMs=2000`);
    if (end === 1) await admin(context, "POST", `${path}/kill`);
    await admin(context, "DELETE", `${path}?force=true`);
  },

  async "container that is paused and removed"(context) {
    const path = `/v1/containers/${context.name}`;
    await admin(context, "POST", "/v1/containers", { ...waits, name: context.name });
    await admin(context, "POST", `${path}/start`);
    await admin(context, "POST", `${path}/pause`);
    await admin(context, "DELETE", `${path}?force=true`);
  },

  async "exec"(context) {
    const { daemon, name } = context;
    const { id } = await admin<{ id: string }>(context, "POST", "/v1/containers", { ...waits, name });
    await admin(context, "POST", `/v1/containers/${name}/start`);
    // One goes on by itself until the container ends, the other one is waited for.
    await admin(context, "POST", `/v1/tasks/${id}/processes`, { command: ["/bin/sleep", "60"] });
    const settings = encodeURIComponent(JSON.stringify({ command: ["/bin/sh", "-c", "echo out; exit 6"] }));
    const answer = await daemon.admin("POST", `/v1/tasks/${id}/exec?settings=${settings}`);
    const text = await answer.text();
    assert.ok(answer.ok && text.includes("out\n") && text.includes('"code":6'), text);
    await admin(context, "DELETE", `/v1/containers/${name}?force=true`);
  },

  async "container that never starts"(context) {
    await admin(context, "POST", "/v1/containers", { ...waits, name: context.name });
    await admin(context, "DELETE", `/v1/containers/${context.name}`);
  },

  async "container that cannot start"(context) {
    await admin(context, "POST", "/v1/containers", { ...waits, workdir: "/etc/passwd", name: context.name });
    const answer = await context.daemon.admin("POST", `/v1/containers/${context.name}/start`);
    const text = await answer.text();
    assert.ok(!answer.ok, text);
    await admin(context, "DELETE", `/v1/containers/${context.name}`);
  },

  async "container that is refused"({ daemon, name }) {
    const answer = await daemon.admin("POST", "/v1/containers", { image: "box:1", command: ["/bin/nothing"], name });
    assert.equal(answer.status, 400, await answer.text());
  },
};
