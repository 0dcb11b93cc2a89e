import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const event = { specversion: "1.0", id: "1", source: "/shop", type: "order.made", data: { total: 5 } };
const shown = 'made order.made /shop application/json {"total":5}';

describe("CloudEvents", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-cloud-events-"));
  let daemon: MayflyProcess;
  const post = (path: string, body: unknown, headers: Record<string, string>) =>
    fetch(`${daemon.url}${path}`, { method: "POST", body: JSON.stringify(body), headers });
  const structured = { "content-type": "application/cloudevents+json" };
  const batch = { "content-type": "application/cloudevents-batch+json; charset=utf-8" };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--max-calls", "5"]);
    const script = 'echo "made $HTTP_CE_TYPE $HTTP_CE_SOURCE $CONTENT_TYPE $(cat)"';
    for (
      const words of [
        ["import", ...stateFlags(folder), makeBusyboxImage(folder, "box:1")],
        ["deploy", ...stateFlags(folder), "show", "--image", "box:1", "--", "sh", "-c", script],
      ]
    ) {
      const { code, stderr } = await mayfly(words, { input: "" });
      assert.equal(code, 0, stderr);
    }
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("reach a function in the same form, binary or structured", async () => {
    assert.equal((await (await post("/fn/show", event, structured)).text()).trim(), shown);
    const binary = {
      "content-type": "application/json",
      "ce-specversion": "1.0",
      "ce-id": "1",
      "ce-source": "/shop",
      "ce-type": "order.made",
    };
    assert.equal((await (await post("/fn/show", event.data, binary)).text()).trim(), shown);
  });

  it("are calls where they come in a batch", async () => {
    const answer = await post("/async/fn/show", [event, { ...event, id: "2" }], batch);
    assert.equal(answer.status, 202);
    const { items } = await answer.json() as { items: { answer: string }[] };
    assert.equal(items.length, 2);
    for (const { answer } of items) {
      const text = await until(async () => {
        const response = await fetch(`${daemon.url}${answer}`);
        return response.status === 200 && response.text();
      });
      assert.equal(text.trim(), shown);
    }
  });

  it("are accepted all or not at all", async () => {
    const count = async () => {
      const { items } = await (await daemon.admin("GET", "/v1/calls")).json() as { items: unknown[] };
      return items.length;
    };
    const before = await count();
    assert.equal((await post("/async/fn/show", [event, { ...event, id: "" }], batch)).status, 400);
    assert.equal((await post("/async/fn/show", Array(6).fill(event), batch)).status, 429);
    assert.equal((await post("/fn/show", [event], batch)).status, 400);
    assert.equal((await post("/fn/show", { ...event, specversion: "0.3" }, structured)).status, 400);
    assert.equal(await count(), before);
  });
});
