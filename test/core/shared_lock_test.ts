import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SharedLock } from "../../src/core/shared_lock.ts";

/** Whether a promise has resolved by the time that everything that can go on has gone on. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(() => done = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return done;
}

describe("SharedLock", () => {
  it("exclusive() waits for every share, and does not keep out new ones while it waits", async () => {
    const lock = new SharedLock();
    const first = await lock.shared();
    const alone = lock.exclusive();
    const second = await lock.shared();
    first[Symbol.dispose]();
    assert.equal(await settled(alone), false);
    second[Symbol.dispose]();
    assert.equal(await settled(alone), true);
  });

  it("shared() and exclusive() wait for who has it alone, and one gets it at a time", async () => {
    const lock = new SharedLock();
    const alone = await lock.exclusive();
    const [next, share] = [lock.exclusive(), lock.shared()];
    assert.equal(await settled(Promise.race([next, share])), false);
    alone[Symbol.dispose]();
    alone[Symbol.dispose]();
    const [nextGot, shareGot] = [await settled(next), await settled(share)];
    assert.equal(Number(nextGot) + Number(shareGot), 1);
  });

  it("shared() comes before who gives it back and wants it alone again at once", async () => {
    const lock = new SharedLock();
    const alone = await lock.exclusive();
    const share = lock.shared();
    alone[Symbol.dispose]();
    const again = lock.exclusive();
    assert.equal(await settled(share), true);
    assert.equal(await settled(again), false);
    (await share)[Symbol.dispose]();
    assert.equal(await settled(again), true);
  });
});
