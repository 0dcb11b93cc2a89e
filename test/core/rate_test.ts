import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { Failure } from "../../src/core/errors.ts";
import { Rate, Rates, RateSchema } from "../../src/core/rate.ts";

describe("Rate", () => {
  it("lets through as many at once as it has in its window, then as they come back", () => {
    let now = 0;
    const rate = new Rate("3/s", () => now);
    assert.deepEqual([1, 2, 3].map(() => rate.take("it").remaining), [2, 1, 0]);
    assert.throws(() => rate.take('function "f"'), (error) => {
      assert.ok(error instanceof Failure);
      assert.equal(error.code, "resource_exhausted");
      assert.match(error.message, /too many requests: function "f" may have 3\/s/);
      assert.deepEqual(error.details, {
        retryAfterSeconds: 1,
        rate: { quota: 3, windowSeconds: 1, remaining: 0, resetSeconds: 1 },
      });
      return true;
    });
    now += 334;
    assert.equal(rate.take("it").remaining, 0);
    assert.throws(() => rate.take("it"));
    now += 3600_000;
    assert.equal(rate.take("it").remaining, 2);
  });

  it("says when the next one may come", () => {
    let now = 0;
    const rate = new Rate("1/h", () => now);
    rate.take("it");
    now += 600_000;
    assert.throws(() => rate.take("it"), (error) => (error as Failure).details?.["retryAfterSeconds"] === 3000);
  });

  it("is a number of requests in a unit of time", () => {
    for (const text of ["1/s", "600/m", "999999999/h"]) assert.ok(v.is(RateSchema, text), text);
    for (const text of ["0/s", "-1/s", "1", "1/d", "1.5/s", "1/s ", "01/s", "1e3/s", ""]) {
      assert.ok(!v.is(RateSchema, text), text);
    }
  });
});

describe("Rates", () => {
  it("counts each by itself, and begins anew where a rate has changed", () => {
    const rates = new Rates();
    rates.take("a", "1/h", "a");
    assert.throws(() => rates.take("a", "1/h", "a"), { code: "resource_exhausted" });
    assert.ok(rates.take("b", "1/h", "b"));
    assert.ok(rates.take("a", "2/h", "a"));
    assert.equal(rates.take("a", undefined, "a"), undefined);
    assert.ok(rates.take("a", "2/h", "a"));
  });
});
