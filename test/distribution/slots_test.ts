import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { Slots } from "../../src/distribution/slots.ts";

describe("slots", () => {
  it("are given in turn, for each key on its own", async () => {
    const slots = new Slots(2);
    const [first, second] = [await slots.take("a", undefined), await slots.take("a", undefined)];
    const order: number[] = [];
    const waiting = [3, 4].map((n) =>
      slots.take("a", undefined).then((give) => {
        order.push(n);
        return give;
      })
    );
    (await slots.take("b", undefined))();
    assert.deepEqual(order, []);
    first();
    first();
    (await waiting[0]!)();
    await waiting[1];
    assert.deepEqual(order, [3, 4]);
    second();
  });

  it("are not waited for by who gives up", async () => {
    const slots = new Slots(1);
    const give = await slots.take("a", undefined);
    const gone = new AbortController();
    const aborted = slots.take("a", gone.signal);
    const next = slots.take("a", undefined);
    gone.abort();
    await assert.rejects(aborted, (error) => codeOf(error) === "aborted");
    give();
    (await next)();
    (await slots.take("a", undefined))();
  });
});
