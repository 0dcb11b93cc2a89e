import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { changed, type Traffic } from "../../src/core/revision.ts";
import { Route } from "../../src/functions/route.ts";

const traffic: Traffic = {
  split: [{ revision: "app-00002", percent: 70 }, { revision: "app-00004", percent: 20 }, {
    revision: "latest",
    percent: 10,
  }],
  tags: { blue: "app-00003", next: "latest" },
};
const route = () => new Route({ name: "app", revision: 5, traffic });
const plain = { headers: new Headers(), client: { address: "127.0.0.1" } };
const asking = (revision: string) => ({ ...plain, headers: new Headers({ "x-mayfly-revision": revision }) });

describe("Route", () => {
  it("splits each hundred requests exactly, and spreads them", () => {
    const chosen = route();
    const numbers = Array.from({ length: 200 }, () => chosen.choose(plain));
    for (const hundred of [numbers.slice(0, 100), numbers.slice(100)]) {
      const count = (revision: number) => hundred.filter((number) => number === revision).length;
      assert.deepEqual([2, 4, 5].map(count), [70, 20, 10]);
    }
    for (let i = 0; i < 180; i++) assert.ok(numbers.slice(i, i + 20).includes(5), `none of ${i} to ${i + 20}`);
    assert.equal(chosen.main, 2);
  });

  it("adds up what goes to the newest twice", () => {
    const split = [{ revision: "app-00005", percent: 40 }, { revision: "latest", percent: 60 }];
    const both = new Route({ name: "app", revision: 5, traffic: { split, tags: {} } });
    assert.deepEqual([...both.split], [[5, 100]]);
  });

  it("gives the revision that is asked for, where it has traffic or a tag, or its caller is at the socket", () => {
    const asked = (revision: string) => route().choose(asking(revision));
    const names = ["blue", "next", "latest", "app-00003", "4", "app-00002"];
    assert.deepEqual(names.map(asked), [3, 5, 5, 3, 4, 2]);
    for (const revision of ["app-00001", "1", "green", "other-00003", "", "0", "app-00006", "x".repeat(5000)]) {
      assert.throws(() => asked(revision), { code: "not_found" });
    }
    const inside = (revision: string) => route().choose({ ...asking(revision), client: undefined });
    assert.equal(inside("app-00001"), 1);
    assert.throws(() => inside("app-00006"), { code: "not_found" });
    assert.throws(() => inside("green"), { code: "not_found" });
  });
});

describe("changed()", () => {
  it("writes revisions out, replaces the split, and adds and takes away tags", () => {
    const change = { split: [{ revision: "3", percent: 100 }], tags: { blue: null, green: "app-00002" } };
    assert.deepEqual(changed(traffic, change, "app"), {
      split: [{ revision: "app-00003", percent: 100 }],
      tags: { next: "latest", green: "app-00002" },
    });
    assert.deepEqual(changed(traffic, {}, "app"), traffic);
  });

  it("refuses what is no revision of the function, and one twice", () => {
    const split = (...revisions: string[]) =>
      revisions.map((revision) => ({ revision, percent: 100 / revisions.length }));
    for (const wrong of [["other-00001"], ["0"], ["blue"], ["1", "app-00001"], ["latest", "latest"]]) {
      assert.throws(() => changed(traffic, { split: split(...wrong) }, "app"), { code: "invalid_argument" });
    }
    assert.throws(() => changed(traffic, { tags: { a: "b" } }, "app"), { code: "invalid_argument" });
  });
});
