import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LogPace, readLog } from "../../src/functions/log_pace.ts";

const MiB = 1024 * 1024;

describe("LogPace", () => {
  it("lets a burst pass, and then as much as in its time", () => {
    let now = 1000;
    const pace = new LogPace(() => now);
    assert.equal(pace.read(8 * MiB), 0);
    assert.equal(pace.read(MiB), 62.5);
    now += 62.5;
    assert.equal(pace.read(0), 0);
    now += 60_000;
    assert.equal(pace.read(8 * MiB), 0);
    assert.equal(pace.read(16 * MiB), 1000);
  });
});

describe("readLog()", () => {
  it("hands on all of it", async () => {
    let parts = 160;
    const log = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (parts-- === 0) controller.close();
        else controller.enqueue(new Uint8Array(64 * 1024));
      },
    });
    let bytes = 0;
    await readLog(log, (part) => bytes += part.length);
    assert.equal(bytes, 10 * MiB);
  });
});
