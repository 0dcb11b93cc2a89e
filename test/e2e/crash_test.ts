import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { leftovers } from "../support/leftovers.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

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
    const pids = processes(slow.join(" "));
    assert.equal(pids.length, 16);
    await first.end("SIGKILL");
    assert.deepEqual(new Set(await Promise.all(running)), new Set(["cut"]));

    await using second = await MayflyProcess.start(folder);
    assert.deepEqual(processes(slow.join(" ")), []);
    const answer = await fetch(`${second.url}/fn/upper`, { method: "POST", body: "still here" });
    assert.equal(await answer.text(), "STILL HERE");
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
