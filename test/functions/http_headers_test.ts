import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rootCaller } from "../../src/core/access.ts";
import { answerHeaders, requestHeaders } from "../../src/functions/http/headers.ts";
import type { Client } from "../../src/functions/request.ts";

const span = { context: undefined, set() {}, rename() {}, end() {} };

/** What a server gets of a request with such fields. */
function sent(fields: Readonly<Record<string, string>>, client: Client | undefined): ReadonlyMap<string, string> {
  return requestHeaders({
    id: "i1",
    request: {
      method: "POST",
      scriptName: "/fn/app",
      path: "",
      query: "",
      headers: new Headers({ host: "a.example", ...fields }),
      client,
      identify: () => Promise.resolve(rootCaller),
      body: null,
      span,
      signal: new AbortController().signal,
    },
    trace: undefined,
    deadlineMs: 0,
    carry: undefined,
    signal: new AbortController().signal,
  });
}

const told = {
  "x-forwarded-for": "1.2.3.4",
  "x-forwarded-proto": "https",
  "x-forwarded-host": "b.example",
  "x-forwarded-port": "443",
  "x-forwarded-user": "root",
  "x-real-ip": "1.2.3.4",
  forwarded: "for=1.2.3.4",
  "x-mayfly-invocation": "other",
  "x-mayfly-revision": "blue",
  "x-other": "kept",
};

describe("requestHeaders()", () => {
  it("takes nothing that a caller says of who and where it is", () => {
    assert.deepEqual(
      new Map([...sent(told, { address: "::1", port: 5 })].sort()),
      new Map([
        ["content-length", "0"],
        ["forwarded", 'for="[::1]";proto=http;host="a.example"'],
        ["host", "a.example"],
        ["x-forwarded-for", "::1"],
        ["x-forwarded-host", "a.example"],
        ["x-forwarded-prefix", "/fn/app"],
        ["x-forwarded-proto", "http"],
        ["x-mayfly-invocation", "i1"],
        ["x-other", "kept"],
        ["x-real-ip", "::1"],
      ]),
    );
  });

  it("takes what a trusted proxy says, and nothing in this daemon's name", () => {
    const fields = sent(told, { address: "1.2.3.4" });
    assert.equal(fields.get("forwarded"), 'for=1.2.3.4;proto=https;host="b.example"');
    assert.equal(fields.get("x-forwarded-port"), "443");
    assert.equal(fields.get("x-forwarded-user"), "root");
    assert.equal(fields.get("x-real-ip"), "1.2.3.4");
    assert.equal(fields.get("x-mayfly-invocation"), "i1");
    assert.equal(fields.has("x-mayfly-revision"), false);
  });

  it("takes nothing of that in names that CGI cannot tell from its own", () => {
    for (const client of [{ address: "::1", port: 5 }, { address: "::1" }]) {
      const given = {
        "x_real_ip": "1",
        "x_forwarded_user": "1",
        "x_mayfly_invocation": "1",
        "x_a": "1",
        "transfer_encoding": "1",
      };
      const fields = sent(given, client);
      assert.deepEqual([...fields.keys()].filter((name) => name.includes("_")), ["x_a"]);
    }
  });

  it("leaves out what is of the connection", () => {
    const fields = sent(
      { connection: "x-hop, close", "x-hop": "1", te: "trailers", expect: "100-continue" },
      undefined,
    );
    for (const name of ["connection", "x-hop", "te", "expect", "x-real-ip"]) {
      assert.equal(fields.has(name), false, name);
    }
  });
});

describe("answerHeaders()", () => {
  it("leaves what is the function's to say", () => {
    const given = new Headers({
      connection: "x-hop",
      "x-hop": "1",
      "keep-alive": "timeout=5",
      "x-mayfly-start": "warm",
      "x-mayfly-version": "0",
      "server-timing": "db;dur=1",
      "x-ratelimit-remaining": "3",
    });
    given.append("set-cookie", "a=1");
    given.append("set-cookie", "b=2");
    assert.deepEqual([...answerHeaders(given)].sort(), [
      ["server-timing", "db;dur=1"],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
      ["x-ratelimit-remaining", "3"],
    ]);
  });
});
