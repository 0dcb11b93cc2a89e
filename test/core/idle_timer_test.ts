import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { IdleTimer } from "../../src/core/idle_timer.ts";

describe("IdleTimer", () => {
  it("calls back once, a whole pause behind the last work", async () => {
    const called = Promise.withResolvers<number>();
    let calls = 0;
    const timer = new IdleTimer(30, () => {
      calls++;
      called.resolve(performance.now());
    });
    timer.begin();
    await new Promise((resolve) => setTimeout(resolve, 20));
    timer.stop();
    const sinceMs = performance.now();
    timer.begin();
    assert.equal(timer.waiting, true);
    assert.ok(await called.promise - sinceMs >= 30);
    assert.equal(timer.waiting, false);
    await new Promise((resolve) => setTimeout(resolve, 40));
    assert.equal(calls, 1);
  });

  it("does not call back while there is work, nor behind its end", async () => {
    let calls = 0;
    const [busy, ended] = [new IdleTimer(10, () => calls++), new IdleTimer(10, () => calls++)];
    busy.begin();
    busy.stop();
    ended.begin();
    ended.end();
    await new Promise((resolve) => setTimeout(resolve, 40));
    assert.equal(calls, 0);
  });
});
