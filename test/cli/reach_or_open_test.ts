import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandLine, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

describe("commands and daemons that want the state folder at the same time", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-turns-"));
  before(async () => {
    const { code, stderr } = await mayfly(["import", ...stateFlags(folder), makeBusyboxImage(folder, "box:1")]);
    assert.equal(code, 0, stderr);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const begin = async (command: string, ...args: readonly string[]): Promise<ChildProcess> => {
    const [program = "", ...first] = await commandLine();
    return spawn(program, [...first, command, ...stateFlags(folder), ...args], { stdio: ["pipe", "pipe", "pipe"] });
  };
  /** What a stream says, as it comes. */
  const words = (stream: Readable | null) => {
    const heard = { text: "" };
    stream?.on("data", (chunk) => heard.text += String(chunk));
    return heard;
  };
  /** A command that works in its own process until its input ends. */
  const holder = async () => {
    const child = await begin("run", "-i", "box:1", "cat");
    child.stdin?.write("here");
    const heard = words(child.stdout);
    await until(() => heard.text === "here");
    return child;
  };

  for (const command of ["images", "serve"]) {
    it(`${command} waits for a command that works in its own process`, async () => {
      const first = await holder();
      const args = command === "serve" ? ["--listen", "127.0.0.1:0"] : [];
      const second = await begin(command, ...args);
      const heard = words(second.stderr);
      const exit = once(second, "exit");
      await until(() => /process \d+ holds it: waiting for it/.test(heard.text));
      first.stdin?.end();
      if (command === "serve") {
        await until(() => /listens on http/.test(heard.text));
        // Not second.kill(): Deno then reports the signal as the process's end, whatever its exit code was.
        process.kill(second.pid ?? 0, "SIGTERM");
      }
      assert.deepEqual(await exit, [0, null], heard.text);
    });
  }

  it("commands find the daemon that begins beside them", async () => {
    const daemon = MayflyProcess.start(folder, ["--log-level", "warn"]);
    const { code, stdout, stderr } = await mayfly(["images", ...stateFlags(folder)]);
    assert.deepEqual([code, /box:1/.test(stdout)], [0, true], stderr);
    await using running = await daemon;
    const second = await mayfly(["serve", ...stateFlags(folder), "--listen", "off"]);
    assert.equal(second.code, 78);
    assert.match(second.stderr, /process \d+ holds it$/m);
    assert.equal(await running.end("SIGTERM"), 0, running.log());
  });
});
