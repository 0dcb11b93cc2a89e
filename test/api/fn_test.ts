import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { splitTarget, withoutOwn } from "../../src/api/fn.ts";
import { codeOf } from "../../src/core/errors.ts";

describe("splitTarget()", () => {
  for (
    const [url, name, namespace, scriptName, path, query] of [
      ["/fn/hello", "hello", "default", "/fn/hello", "", ""],
      ["/fn/hello/", "hello", "default", "/fn/hello", "/", ""],
      ["/fn/hello?a=1", "hello", "default", "/fn/hello", "", "a=1"],
      ["/fn/hello/a%20b/c?x=%2F&y#end", "hello", "default", "/fn/hello", "/a%20b/c", "x=%2F&y"],
      ["/fn/hello.team/x", "hello", "team", "/fn/hello.team", "/x", ""],
      ["/fn/hello?a=/b.c", "hello", "default", "/fn/hello", "", "a=/b.c"],
    ] as const
  ) {
    it(url, () => {
      assert.deepEqual(splitTarget(`http://localhost:8080${url}`), {
        mount: "",
        name,
        namespace,
        scriptName,
        path,
        query,
      });
    });
  }

  it("finds the revision that is asked for", () => {
    const { name, namespace, scriptName, path, revision } = splitTarget("http://h/fn/hello.team@blue/a@b?c=@d");
    assert.deepEqual([name, namespace, revision, scriptName, path], [
      "hello",
      "team",
      "blue",
      "/fn/hello.team@blue",
      "/a@b",
    ]);
  });

  it("leaves out what stands before the API in a server of somebody else's", () => {
    assert.deepEqual(splitTarget("http://localhost/jobs/of%2Fme/fn/hello/x", { above: 2 }), {
      mount: "/jobs/of%2Fme",
      name: "hello",
      namespace: "default",
      scriptName: "/jobs/of%2Fme/fn/hello",
      path: "/x",
      query: "",
    });
  });

  for (const url of ["/fn/", "/fn/Hello", "/fn/-a", "/fn/a.B", "/fn/a.b.c", "/fn/a%20b", `/fn/${"a".repeat(64)}`]) {
    it(`refuses ${url.slice(0, 20)}`, () => {
      assert.throws(() => splitTarget(`http://h${url}`), (error) => codeOf(error) === "invalid_argument");
    });
  }
});

describe("withoutOwn()", () => {
  it("leaves out what a caller says in this daemon's name, but for the revision that is asked for", () => {
    const given = new Headers({ "X-Mayfly-Scheduled-At": "2030", "X-Mayfly-Revision": "blue", "X-Other": "kept" });
    assert.deepEqual([...withoutOwn(given)], [["x-mayfly-revision", "blue"], ["x-other", "kept"]]);
    assert.equal(given.get("x-mayfly-scheduled-at"), "2030");
  });
});
