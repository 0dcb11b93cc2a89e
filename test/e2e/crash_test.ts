import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { Metadata } from "../../src/core/metadata.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { leftovers } from "../support/leftovers.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

interface Made {
  readonly id: string;
  readonly snapshotter: string;
  readonly snapshotKey: string;
}

/** A command line that no other process has. */
const slow = ["sleep", `30.${process.pid}`];

describe("a daemon that is killed", () => {
  let folder = "";
  let clean: readonly string[] = [];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-crash-"));
    const layout = makeBusyboxImage(folder, "box:1");
    const imported = await mayfly(["import", ...stateFlags(folder), layout]);
    assert.equal(imported.code, 0, imported.stderr);
    for (const [name, ...command] of [["upper", "tr", "a-z", "A-Z"], ["slow", ...slow]]) {
      const done = await mayfly(["deploy", ...stateFlags(folder), name ?? "", "--image", "box:1", "--", ...command]);
      assert.equal(done.code, 0, done.stderr);
    }
    clean = leftovers(folder);
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  it("in the middle of 16 invocations leaves nothing behind after the next start, and loses nothing", async () => {
    await using first = await MayflyProcess.start(folder);
    const running = Array.from(
      { length: 16 },
      () => fetch(`${first.url}/fn/slow`, { method: "POST", body: "x" }).catch(() => "cut"),
    );
    await until(async () => {
      const { items } = await (await first.admin("GET", "/v1/tasks")).json() as { items: { status: string }[] };
      return items.filter(({ status }) => status === "running").length === 16;
    });
    // Its command line comes a moment behind its execve.
    await until(() => processes(slow.join(" ")).length === 16);
    await first.end("SIGKILL");
    assert.deepEqual(new Set(await Promise.all(running)), new Set(["cut"]));

    await using second = await MayflyProcess.start(folder);
    assert.deepEqual(processes(slow.join(" ")), []);
    const answer = await fetch(`${second.url}/fn/upper`, { method: "POST", body: "still here" });
    assert.equal(await answer.text(), "STILL HERE");
    assert.equal(await second.end("SIGTERM"), 0, second.log());
    assert.deepEqual(leftovers(folder), clean);
  });

  it("leaves of containers that live on what is meant to stay, and nothing else", async () => {
    const json = async <T>(daemon: MayflyProcess, method: string, path: string, body?: unknown) => {
      const answer = await daemon.admin(method, path, body);
      const text = await answer.text();
      assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
      return (text === "" ? undefined : JSON.parse(text)) as T;
    };
    const logs = async (daemon: MayflyProcess, id: string) =>
      await (await daemon.admin("GET", `/v1/containers/${id}/logs`)).text();
    let id = "";
    let eventId = "";
    let broken: (metadata: Metadata) => Promise<void> = () => Promise.resolve();
    {
      await using first = await MayflyProcess.start(folder);
      ({ id } = await json<{ id: string }>(first, "POST", "/v1/containers", {
        image: "box:1",
        command: ["/bin/sh", "-c", `echo run >> /runs; cat /runs; exec ${slow.join(" ")}`],
      }));
      const idle = await json<{ id: string }>(first, "POST", "/v1/containers", { image: "box:1", name: "idle" });
      assert.notEqual(idle.id, id);
      // As a crash in the middle of a creation, and of a removal, leaves them.
      const half = await json<Made>(first, "POST", "/v1/containers", { image: "box:1", name: "half" });
      const gone = await json<Made>(first, "POST", "/v1/containers", { image: "box:1", command: ["true"] });
      await json(first, "POST", `/v1/containers/${gone.id}/start`);
      await json(first, "POST", `/v1/containers/${gone.id}/wait`);
      broken = async (metadata) => {
        await metadata.snapshots(half.snapshotter).remove(half.snapshotKey);
        await metadata.containers.delete("default", gone.id);
      };
      await json(first, "POST", `/v1/containers/${id}/start`);
      await until(async () => await logs(first, id) === "run\n");
      const events = (await first.admin("GET", "/v1/events")).body!.getReader();
      eventId = /^id: (\S+)$/m.exec(new TextDecoder().decode((await events.read()).value))?.[1] ?? "";
      await until(() => processes(slow.join(" ")).length === 1);
      await first.end("SIGKILL");
      await events.cancel().catch(() => {});
    }
    {
      await using metadata = await openMetadata({ root: join(folder, "root") });
      await broken(metadata);
    }
    await using second = await MayflyProcess.start(folder);
    assert.deepEqual(processes(slow.join(" ")), []);
    assert.equal((await second.admin("GET", "/v1/containers/half")).status, 404);
    const found = await json<{ status: string; exitCode: number }>(second, "GET", `/v1/containers/${id}`);
    assert.deepEqual([found.status, found.exitCode], ["exited", 255]);
    assert.equal((await json<{ status: string }>(second, "GET", "/v1/containers/idle")).status, "created");
    assert.equal(await logs(second, id), "run\n");
    const events = (await second.admin("GET", `/v1/events?since=${eventId}`)).body!.getReader();
    let told = "";
    while (!told.includes("/tasks/exit")) told += new TextDecoder().decode((await events.read()).value);
    await events.cancel();
    assert.match(told, /event: gap\n[^]*"exitStatus":255/);

    await json(second, "POST", `/v1/containers/${id}/start`);
    await until(async () => await logs(second, id) === "run\nrun\nrun\n");
    await json(second, "DELETE", `/v1/containers/${id}?force=true`);
    await json(second, "DELETE", "/v1/containers/idle");
    assert.equal(await second.end("SIGTERM"), 0, second.log());
    assert.deepEqual(leftovers(folder), clean);
  });

  it("twice on one root is refused with the first one's pid", async () => {
    await using first = await MayflyProcess.start(folder);
    try {
      const second = await mayfly([
        "serve",
        ...stateFlags(folder),
        "--run",
        join(folder, "elsewhere"),
        "--listen",
        "off",
      ]);
      assert.equal(second.code, 78);
      assert.match(second.stderr, new RegExp(`process ${first.child.pid} holds it`));
    } finally {
      await first.end("SIGKILL");
    }
  });

  it("stops containers by their own signal on SIGTERM, and knows how they ended", async () => {
    let id = "";
    {
      await using daemon = await MayflyProcess.start(folder);
      const created = await daemon.admin("POST", "/v1/containers", {
        image: "box:1",
        command: ["/bin/sh", "-c", "trap 'echo bye; exit 7' USR1; echo ready; while :; do sleep 0.01; done"],
        stopSignal: "USR1",
      });
      ({ id } = await created.json() as Made);
      assert.equal((await daemon.admin("POST", `/v1/containers/${id}/start`)).status, 200);
      const logs = (await daemon.admin("GET", `/v1/containers/${id}/logs?follow=true`)).body!.getReader();
      assert.equal(new TextDecoder().decode((await logs.read()).value), "ready\n");
      const ended = daemon.end("SIGTERM");
      assert.equal(new TextDecoder().decode((await logs.read()).value), "bye\n");
      assert.equal((await logs.read()).done, true);
      assert.equal(await ended, 0, daemon.log());
    }
    await using daemon = await MayflyProcess.start(folder);
    const found = await (await daemon.admin("GET", `/v1/containers/${id}`)).json() as Record<string, unknown>;
    assert.deepEqual([found["status"], found["exitCode"], found["error"]], ["exited", 7, undefined]);
    assert.equal((await daemon.admin("DELETE", `/v1/containers/${id}`)).status, 204);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    assert.deepEqual(leftovers(folder), clean);
  });

  it("finishes what runs on SIGTERM, and takes nothing new", async () => {
    await using daemon = await MayflyProcess.start(folder);
    const deployed = await daemon.admin("PUT", "/v1/functions/nap", {
      image: "box:1",
      args: ["sh", "-c", "sleep 1; echo rested"],
    });
    assert.equal(deployed.status, 201, await deployed.text());
    const running = fetch(`${daemon.url}/fn/nap`).then((answer) => answer.text());
    await until(async () =>
      (await (await daemon.admin("GET", "/v1/tasks")).json() as { items: unknown[] }).items.length === 1
    );
    const ended = daemon.end("SIGTERM");
    assert.equal(await running, "rested\n");
    assert.equal(await ended, 0, daemon.log());
    assert.deepEqual(leftovers(folder), clean);
  });
});

/** Ids of processes by their command line. */
function processes(command: string): string[] {
  return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandLine(pid) === command);
}

function commandLine(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    // The process ended in between.
    return undefined;
  }
}
