import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { badFunctions, callBad } from "../support/bad_functions.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";

describe("a function that does what it should not", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-neighbours-"));
  let daemon: MayflyProcess;
  const deploy = async (name: string, input: object) => {
    const answer = await daemon.admin("PUT", `/v1/functions/${name}`, { image: "box:1", ...input });
    assert.equal(answer.status, 201, await answer.clone().text());
  };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);
    const path = makeBusyboxImage(folder, "box:1");
    assert.equal((await daemon.admin("POST", "/v1/images/import", { path })).status, 201);
    await deploy("good", { command: ["cat"] });
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  for (const bad of badFunctions) {
    it(`tells its caller, and lets others be: ${bad.name}`, async () => {
      await deploy(bad.name, bad.input);
      let ended = false;
      const telling = Promise.all([callBad(daemon.url, bad), callBad(daemon.url, bad)]).finally(() => ended = true);
      let good = 0;
      do {
        const answer = await fetch(`${daemon.url}/fn/good`, { method: "POST", body: `${good}` });
        assert.equal(await answer.text(), `${good++}`);
      } while (!ended);
      for (const told of await telling) assert.ok(bad.told.includes(told), `${told}, want ${bad.told.join(" or ")}`);
    });
  }
});
