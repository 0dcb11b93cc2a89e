import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

describe("functions that nobody calls", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-resting-"));
  let daemon: MayflyProcess;
  const names = Array.from({ length: 12 }, (_, i) => `f${i}`);
  const made = async () => {
    const text = await (await daemon.admin("GET", "/metrics")).text();
    return Number(/^mayfly_made_functions (\d+)$/m.exec(text)?.[1]);
  };
  const invoke = async (name: string) => (await (await fetch(`${daemon.url}/fn/${name}`)).text()).trim();

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--max-resting", "4"]);
    const layout = makeBusyboxImage(folder, "box:1");
    const { code, stderr } = await mayfly(["import", ...stateFlags(folder), layout], { input: "" });
    assert.equal(code, 0, stderr);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are let go of where they are many, but for those that hold containers, and made again for their next request", async () => {
    for (const name of names) {
      const prepared = name === "f0" ? 1 : 0;
      const settings = { image: "box:1", command: ["echo", name], prepared };
      assert.equal((await daemon.admin("PUT", `/v1/functions/${name}`, settings)).status, 201);
    }
    await until(async () => await made() <= 5);
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(await Promise.all(names.map(invoke)), names);
      await until(async () => await made() <= 5);
    }
    await until(async () => {
      const answer = await fetch(`${daemon.url}/fn/f0`);
      await answer.text();
      return answer.headers.get("x-mayfly-start") === "prepared";
    });
  });
});
