import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { decodeFrames, frameType } from "../../src/core/stdio_frames.ts";
import { leftovers } from "../support/leftovers.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

interface Info {
  readonly id: string;
  readonly name?: string;
  readonly status: string;
  readonly exitCode?: number;
  readonly error?: string;
  readonly pid?: number;
  readonly labels: Record<string, string>;
  readonly settings: Record<string, unknown>;
}

describe("containers that live on", () => {
  let world: World;

  before(async () => {
    world = await World.open();
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const create = (script: string, settings: Record<string, unknown> = {}) =>
    world.admin<Info>("POST", "/v1/containers", { image: "box:1", command: ["/bin/sh", "-c", script], ...settings });
  const get = (id: string) => world.admin<Info>("GET", `/v1/containers/${id}`);
  const post = <T>(id: string, verb: string) => world.admin<T>("POST", `/v1/containers/${id}/${verb}`);
  const logs = async (id: string, query = "") =>
    await (await world.ask("GET", `/v1/containers/${id}/logs${query}`)).text();
  const refused = async (method: string, path: string, body?: unknown) => {
    const answer = await world.ask(method, path, body);
    const { code, detail } = await answer.json() as { code: string; detail: string };
    return { status: answer.status, code, detail };
  };
  const remove = (id: string) => world.admin("DELETE", `/v1/containers/${id}?force=true`);

  it("are created, started, waited for, shown and removed", async () => {
    const made = await create("echo out; echo err >&2; exit 3", { name: "first", labels: { a: "b" } });
    assert.deepEqual([made.status, made.name, made.labels], ["created", "first", { a: "b" }]);
    assert.equal("spec" in made, false);
    assert.equal("spec" in await get("first"), true);
    assert.equal((await refused("POST", "/v1/containers", { image: "box:1", name: "first" })).code, "already_exists");
    assert.equal((await refused("POST", "/v1/containers/first/wait")).code, "failed_precondition");
    const started = await post<Info>("first", "start");
    assert.equal(started.status, "running");
    assert.equal((await post<{ exitCode: number }>("first", "wait")).exitCode, 3);
    const ended = await get("first");
    assert.deepEqual([ended.status, ended.exitCode, ended.id], ["exited", 3, made.id]);
    assert.deepEqual((await logs("first")).split("\n").sort(), ["", "err", "out"]);
    assert.equal((await get(made.id.slice(0, 6))).id, made.id);
    const folder = join(world.folder, "root/containers/default");
    assert.deepEqual(readdirSync(folder), [made.id]);
    await world.admin("DELETE", "/v1/containers/first");
    assert.equal((await refused("GET", "/v1/containers/first")).status, 404);
    assert.deepEqual(readdirSync(folder), []);
    assert.equal(existsSync(join(world.folder, "root/containers/default", made.id)), false);
  });

  it("keep what they have written, and their log, from one run to the next", async () => {
    const { id } = await create("echo x >> /count; cat /count | wc -l");
    for (const _ of [1, 2, 3]) {
      await post(id, "start");
      assert.equal((await post<{ exitCode: number }>(id, "wait")).exitCode, 0);
    }
    assert.equal((await logs(id)).replaceAll(" ", ""), "1\n2\n3\n");
    assert.equal((await logs(id, "?tail=1")).trim(), "3");
    await remove(id);
  });

  it("are stopped by their signal, and killed where they do not mind it", async () => {
    const mild = await create("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    const deaf = await create("trap '' TERM; echo ready; while :; do sleep 0.01; done", { stopGraceMs: 50 });
    for (const [{ id }, code] of [[mild, 5], [deaf, 137]] as const) {
      await post(id, "start");
      const answer = await world.ask("GET", `/v1/containers/${id}/logs?follow=true`);
      const reader = answer.body!.getReader();
      assert.equal(new TextDecoder().decode((await reader.read()).value), "ready\n");
      const stopped = await post<Info>(id, "stop");
      assert.deepEqual([stopped.status, stopped.exitCode], ["exited", code]);
      assert.equal((await reader.read()).done, true);
      assert.equal((await post<Info>(id, "stop")).status, "exited");
      await remove(id);
    }
  });

  it("are waited for before they are started", async () => {
    const { id } = await create("exit 6");
    let code: number | undefined;
    const waiting = post<{ exitCode: number }>(id, "wait?condition=next-exit").then(({ exitCode }) => code = exitCode);
    // Nobody knows when the request has arrived: to start it again does no harm.
    await until(async () => {
      await world.ask("POST", `/v1/containers/${id}/start`);
      await post(id, "wait");
      return code !== undefined;
    });
    assert.equal(await waiting, 6);
    await remove(id);
  });

  it("are listed by what runs and by label", async () => {
    const one = await create("exec sleep 60", { labels: { app: "x", tier: "1" } });
    const two = await create("exec sleep 60", { labels: { app: "x" } });
    await post(one.id, "start");
    const list = async (query: string) =>
      (await world.admin<{ items: Info[] }>("GET", `/v1/containers${query}`)).items.map(({ id }) => id);
    assert.deepEqual(await list(""), [one.id]);
    assert.deepEqual((await list("?all=true&label=app%3Dx")).sort(), [one.id, two.id].sort());
    assert.deepEqual(await list("?all=true&label=app&label=tier%3D1"), [one.id]);
    assert.deepEqual(await list("?all=true&label=app%3Dy"), []);
    assert.equal((await refused("DELETE", `/v1/containers/${one.id}`)).code, "failed_precondition");
    assert.equal((await refused("POST", `/v1/containers/${one.id}/start`)).code, "failed_precondition");
    const pruned = await world.admin<{ items: string[] }>("POST", "/v1/containers/prune");
    assert.deepEqual(pruned.items, [two.id]);
    await remove(one.id);
    assert.deepEqual(await list("?all=true"), []);
  });

  it("tell of their processes, figures and errors", async () => {
    const { id } = await create("trap 'exit 9' USR1; sleep 60 & wait");
    await post(id, "start");
    const commands = async () =>
      (await world.admin<{ items: { command: string }[] }>("GET", `/v1/containers/${id}/processes`)).items
        .map(({ command }) => command).sort();
    await until(async () => (await commands()).includes("sleep 60"));
    assert.equal((await commands()).length, 2);
    const stats = await world.admin<{ pids: number }>("GET", `/v1/containers/${id}/stats`);
    assert.equal(stats.pids, 2);
    const stream = await world.ask("GET", `/v1/containers/${id}/stats/stream`);
    const reader = stream.body!.getReader();
    assert.equal(JSON.parse(new TextDecoder().decode((await reader.read()).value)).pids, 2);
    await reader.cancel();
    await world.admin("POST", `/v1/containers/${id}/kill?signal=SIGUSR1`);
    assert.equal((await post<{ exitCode: number }>(id, "wait")).exitCode, 9);
    assert.equal((await refused("POST", `/v1/containers/${id}/kill`)).code, "failed_precondition");
    assert.equal((await refused("GET", `/v1/containers/${id}/stats`)).code, "failed_precondition");
    await remove(id);
    const broken = await create("", { command: ["/etc/passwd"] });
    assert.equal((await refused("POST", `/v1/containers/${broken.id}/start`)).code, "permission_denied");
    const { status, exitCode, error } = await get(broken.id);
    assert.deepEqual([status, exitCode], ["exited", 126]);
    assert.match(error ?? "", /passwd/);
    await remove(broken.id);
  });

  it("separate stdout from stderr for who asks for frames, and stamp lines", async () => {
    const { id } = await create("printf 'a\\nb'; printf 'c\\n'; printf err >&2");
    await post(id, "start");
    await post(id, "wait");
    const answer = await world.ask("GET", `/v1/containers/${id}/logs`, undefined, { accept: frameType });
    const seen = { stdout: "", stderr: "", result: "" };
    for await (const { channel, payload } of decodeFrames(answer.body!)) {
      seen[channel] += new TextDecoder().decode(payload);
    }
    assert.deepEqual(seen, { stdout: "a\nbc\n", stderr: "err", result: "{}" });
    assert.equal(await logs(id, "?stdout=false"), "err");
    assert.equal(await logs(id, "?stderr=false&tail=1"), "bc\n");
    assert.match(
      await logs(id, "?stderr=false&timestamps=true"),
      /^\d{4}-\d\d-\d\dT[\d:.]+Z a\n\d{4}-\d\d-\d\dT[\d:.]+Z bc\n$/,
    );
    const late = new Date(Date.now() + 60_000).toISOString();
    assert.equal(await logs(id, `?since=${late}`), "");
    assert.equal(await logs(id, "?until=2001-01-01T00:00:00Z"), "");
    await remove(id);
  });

  it("list, copy and commit what they changed", async () => {
    const { id } = await create("echo one > /made; rm /etc/group; exec sleep 60", { env: { GREETING: "hello" } });
    await post(id, "start");
    const changes = async () =>
      (await world.admin<{ items: { kind: string; path: string }[] }>("GET", `/v1/containers/${id}/changes`)).items
        .map(({ kind, path }) => `${kind} ${path}`);
    await until(async () => (await changes()).includes("A /made"));
    const archive = async (path: string) =>
      new Uint8Array(await (await world.ask("GET", `/v1/containers/${id}/archive?path=${path}`)).arrayBuffer());
    for (const state of ["running", "exited"]) {
      assert.equal((await get(id)).status, state);
      const tar = await archive("/made");
      assert.ok(/\0made\0[^]*one\n/.test(new TextDecoder().decode(tar)));
      const put = await world.ask("PUT", `/v1/containers/${id}/archive?path=/tmp`, tar);
      assert.equal(put.status, 204, put.status === 204 ? "" : await put.text());
      const file = await world.admin<{ name: string; sizeBytes: number }>(
        "GET",
        `/v1/containers/${id}/archive/stat?path=/tmp/made`,
      );
      assert.deepEqual([file.name, file.sizeBytes], ["made", 4]);
      assert.equal((await refused("GET", `/v1/containers/${id}/archive?path=/nothing`)).code, "not_found");
      const image = await world.admin<{ name: string }>("POST", `/v1/containers/${id}/commit`, {
        name: `committed:${state}`,
        changes: ['CMD ["/bin/sh", "-c", "cat /made; echo $GREETING"]', "ENTRYPOINT []"],
      });
      assert.equal(image.name, `docker.io/library/committed:${state}`);
      assert.equal((await get(id)).status, state);
      await post(id, "stop?graceMs=0");
    }
    const made = await world.admin<Info>("POST", "/v1/containers", { image: "committed:exited" });
    await post(made.id, "start");
    await post(made.id, "wait");
    assert.equal(await logs(made.id), "one\nhello\n");
    const { items } = await world.admin<{ items: { key: string; kind: string; snapshotter: string }[] }>(
      "GET",
      "/v1/snapshots?kind=active&prefix=container/",
    );
    assert.deepEqual(items.map(({ key }) => key).sort(), [id, made.id].map((one) => `container/default/${one}`).sort());
    const { snapshotter = "", key = "" } = items[0] ?? {};
    const shown = await world.admin<{ usage: { bytes: number } }>(
      "GET",
      `/v1/snapshots/stat?snapshotter=${snapshotter}&key=${key}`,
    );
    assert.ok(shown.usage.bytes > 0);
    assert.equal((await refused("GET", "/v1/snapshots?snapshotter=none")).status, 400);
    await remove(id);
    await remove(made.id);
  });

  it("do not hold the daemon up when it closes", async () => {
    const other = await World.open();
    const { id } = await other.admin<Info>("POST", "/v1/containers", { image: "box:1", command: ["sleep", "60"] });
    const open = [await other.ask("GET", `/v1/containers/${id}/archive?path=/bin`)];
    const started = other.ask("POST", `/v1/containers/${id}/start`);
    const waiting = other.ask("POST", `/v1/containers/${id}/wait?condition=next-exit`);
    open.push(await other.ask("GET", "/v1/events"), await other.ask("GET", `/v1/containers/${id}/logs?follow=true`));
    await other[Symbol.asyncDispose]();
    await started;
    assert.equal(open.every(({ status }) => status === 200), true);
    assert.ok([200, 503].includes((await waiting).status));
  });

  it("leave nothing behind, whatever is asked of them at once", async () => {
    const events = await world.ask("GET", "/v1/events?topic=/tasks/");
    const before = await settled();
    const open = descriptors();
    await Promise.all(Array.from({ length: 24 }, async (_, i) => {
      const { id } = await create(i % 3 === 0 ? "exit 1" : "sleep 60 & exec sleep 60", { stopGraceMs: 10 });
      const ask = (method: string, verb: string) =>
        world.ask(method, `/v1/containers/${id}${verb}`).then((answer) => answer.text().then(() => answer.status));
      const started = ask("POST", "/start");
      const verbs = ["/start", "/pause", "/resume", "/stop", "/kill", "/start", "/wait"].slice(i % 4);
      const asked = verbs.map((verb) => ask("POST", verb));
      asked.push(ask("GET", "/processes"), ask("GET", "/logs?follow=true"), ask("GET", "/changes"));
      asked.push(ask("GET", "/archive?path=/bin"), ask("DELETE", ""), ask("DELETE", "?force=true"));
      const unexpected = (await Promise.all([started, ...asked])).filter((status) => status >= 500);
      assert.deepEqual(unexpected, [], id);
      // It may have been started behind its removal's back only if that failed.
      await ask("DELETE", "?force=true");
    }));
    assert.deepEqual((await world.admin<{ items: Info[] }>("GET", "/v1/containers?all=true")).items, []);
    assert.deepEqual(await settled(), before);

    await until(() => descriptors() <= open);

    const reader = events.body!.getReader();
    let told = "";
    for (let ended = 0, begun = 1; ended < begun;) {
      told += new TextDecoder().decode((await reader.read()).value);
      begun = told.match(/"\/tasks\/create"/g)?.length ?? 1;
      ended = told.match(/"\/tasks\/delete"/g)?.length ?? 0;
    }
    await reader.cancel();
    const byTask = Map.groupBy(
      [...told.matchAll(/^data: (.*)$/gm)].map(([, data = ""]) => JSON.parse(data)),
      ({ data }) => data.containerId,
    );
    for (const life of byTask.values()) {
      const text = life.map(({ topic }) => topic.slice("/tasks/".length)).join(" ");
      // One life or several, each whole.
      assert.match(text, /^(?:create start (?:paused |resumed )*exit (?:resumed )?delete ?)+$/);
    }
  });

  /** What containers could leave on this machine and in this process, when their ends are done. */
  async function settled() {
    await until(async () => (await world.admin<{ items: unknown[] }>("GET", "/v1/tasks")).items.length === 0);
    const { items } = await world.admin<{ items: { kind: string }[] }>("GET", "/v1/snapshots");
    return {
      left: leftovers(world.folder),
      active: items.filter(({ kind }) => kind !== "committed").length,
      processes: readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && sleeps(pid)).length,
    };
  }
});

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

function sleeps(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8") === "sleep\0" + "60\0" &&
      readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(`mayfly-test-${process.pid}`);
  } catch {
    // It ended in between.
    return false;
  }
}
