import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { YoungInvocations } from "../../src/functions/young_invocations.ts";

const many = 2 * 1024 * 1024;

/** Whether it goes on without a turn of the event loop's timers. */
async function passes(young: YoungInvocations, bytes: number): Promise<boolean> {
  let passed = false;
  const passing = young.letPass(bytes).then(() => passed = true);
  for (let i = 0; i < 10; i++) await Promise.resolve();
  const atOnce = passed;
  await passing;
  return atOnce;
}

describe("YoungInvocations", () => {
  it("letPass() waits for a moment with answers of many bytes, while one has not begun to answer", async () => {
    const young = new YoungInvocations();
    assert.equal(await passes(young, many), true);
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    young.add(first.promise);
    young.add(second.promise);
    assert.equal(await passes(young, many), false);
    assert.equal(await passes(young, 1000), true);
    first.resolve();
    second.reject(new Error("broken"));
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.equal(await passes(young, many), true);
  });

  it("letPass() does not wait for one that takes its time", async () => {
    const young = new YoungInvocations();
    young.add(new Promise(() => {}));
    assert.equal(await passes(young, many), false);
    const end = performance.now() + 10_000;
    while (!await passes(young, many)) assert.ok(performance.now() < end);
  });
});
