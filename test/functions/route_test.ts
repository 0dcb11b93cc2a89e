import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Caller, Scope } from "../../src/core/access.ts";
import { Failure } from "../../src/core/errors.ts";
import { changed, type Traffic } from "../../src/core/revision.ts";
import { askedRevision } from "../../src/functions/known.ts";
import { Route } from "../../src/functions/route.ts";

const traffic: Traffic = {
  split: [{ revision: "app-00002", percent: 70 }, { revision: "app-00004", percent: 20 }, {
    revision: "latest",
    percent: 10,
  }],
  tags: { blue: "app-00003", next: "latest" },
};
const route = () => new Route({ name: "app", revision: 5, traffic });

describe("Route", () => {
  it("splits each hundred requests exactly, and spreads them", () => {
    const chosen = route();
    const numbers = Array.from({ length: 200 }, () => chosen.next());
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

  it("finds the revision that is asked for", () => {
    const asked = (revision: string) => route().asked(new Headers({ "x-mayfly-revision": revision }));
    const names = ["blue", "next", "latest", "app-00003", "4", "app-00002", "1"];
    assert.deepEqual(names.map(asked), [3, 5, 5, 3, 4, 2, 1]);
    assert.equal(route().asked(new Headers()), undefined);
    for (const revision of ["green", "other-00003", "", "0", "app-00006", "x".repeat(5000)]) {
      assert.throws(() => asked(revision), { code: "not_found" });
    }
    assert.deepEqual([1, 2, 3, 4, 5].filter((revision) => route().reaches(revision)), [2, 3, 4, 5]);
  });
});

describe("a tag that several revisions answer", () => {
  const shared: Traffic = {
    ...traffic,
    shares: { blue: { "app-00001": 30 } },
    published: { "app-00001": "the first" },
    notes: { blue: "what is used" },
  };

  it("splits each hundred of its requests exactly", () => {
    const one = new Route({ name: "app", revision: 5, traffic: shared });
    const headers = new Headers({ "x-mayfly-revision": "blue" });
    const numbers = Array.from({ length: 100 }, () => one.asked(headers));
    assert.equal(numbers.filter((number) => number === 1).length, 30);
    assert.equal(numbers.filter((number) => number === 3).length, 70);
    assert.deepEqual([1, 2, 3, 4, 5].filter((revision) => one.reaches(revision)), [1, 2, 3, 4, 5]);
  });

  it("loses its shares where it is set anew, and what is said of it where it goes", () => {
    assert.deepEqual(changed(shared, { tags: { blue: "2" } }, "app").shares, undefined);
    assert.deepEqual(changed(shared, { tags: { blue: "2" } }, "app").notes, { blue: "what is used" });
    const { notes, published } = changed(shared, { tags: { blue: null } }, "app");
    assert.deepEqual([notes, published], [undefined, { "app-00001": "the first" }]);
    assert.deepEqual(changed(shared, { tags: {}, shares: { next: { "2": 5 } } }, "app").shares, {
      blue: { "app-00001": 30 },
      next: { "app-00002": 5 },
    });
  });
});

describe("askedRevision()", () => {
  it("gives one without a tag or traffic to who may deploy alone", async () => {
    const asked = (revision: string, identify: () => Promise<Caller>) =>
      askedRevision({ namespace: "team", name: "app" }, route(), {
        headers: new Headers({ "x-mayfly-revision": revision }),
        identify,
      });
    const caller = (scope: Scope, namespace: string) => () =>
      Promise.resolve({ name: "x", key: "x", grants: [{ scopes: [scope], namespace }] });
    const nobody = () => Promise.reject(new Failure("unauthenticated", "no token"));
    assert.equal(await asked("blue", nobody), 3);
    assert.equal(await asked("1", caller("deploy", "team")), 1);
    for (const identify of [nobody, caller("invoke", "team"), caller("admin", "other")]) {
      await assert.rejects(asked("1", identify), { code: "not_found" });
    }
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

  it("provisions tags and what is published, as long as they are there, and counts none for the newest", () => {
    const before = { ...traffic, published: { "app-00003": "" } };
    const made = changed(before, { tags: {}, provisioned: { blue: 2, "3": 1, next: 4 } }, "app");
    assert.deepEqual(made.provisioned, { blue: 2, "app-00003": 1, next: 4 });
    assert.deepEqual([...new Route({ name: "app", revision: 5, traffic: made }).provisioned], [[3, 3]]);
    assert.deepEqual(changed(made, { tags: { blue: null }, published: {} }, "app").provisioned, { next: 4 });
    assert.equal(changed(made, { tags: {}, provisioned: { blue: 0, "3": 0, next: 0 } }, "app").provisioned, undefined);
    assert.throws(() => changed(before, { provisioned: { "4": 1 } }, "app"), { code: "invalid_argument" });
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
