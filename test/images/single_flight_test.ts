import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SingleFlight } from "../../src/images/single_flight.ts";

describe("SingleFlight", () => {
  it("runs equal work once, and again when it has ended", async () => {
    const flight = new SingleFlight<number>();
    let runs = 0;
    const work = async () => {
      await Promise.resolve();
      return ++runs;
    };
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => flight.run("a", undefined, work))), [1, 1, 1]);
    assert.equal(await flight.run("a", undefined, work), 2);
  });

  it("goes on while one still waits, and is aborted when the last one leaves", async () => {
    const flight = new SingleFlight<string>();
    const done = Promise.withResolvers<string>();
    let aborted = false;
    const work = (signal: AbortSignal) => {
      signal.addEventListener("abort", () => {
        aborted = true;
        done.reject(signal.reason);
      });
      return done.promise;
    };
    const [first, second] = [new AbortController(), new AbortController()];
    const one = flight.run("a", first.signal, work);
    const two = flight.run("a", second.signal, work);
    first.abort(new Error("first left"));
    await assert.rejects(one, /first left/);
    assert.equal(aborted, false);
    second.abort(new Error("second left"));
    await assert.rejects(two, /second left/);
    assert.equal(aborted, true);
    assert.equal(await flight.run("a", undefined, () => Promise.resolve("new")), "new");
  });

  it("gives one failure to all, and does not keep it", async () => {
    const flight = new SingleFlight<void>();
    const fail = () => Promise.reject(new Error("broken"));
    const results = await Promise.allSettled([flight.run("a", undefined, fail), flight.run("a", undefined, fail)]);
    assert.deepEqual(results.map(({ status }) => status), ["rejected", "rejected"]);
    await flight.run("a", undefined, () => Promise.resolve());
  });
});
