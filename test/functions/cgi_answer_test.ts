import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hasCgiHead, parseCgiHead, withCgiHeaders } from "../../src/functions/cgi_answer.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function parsed(text: string) {
  const { status, headers, length } = parseCgiHead(bytes(text));
  return [status, Object.fromEntries(headers), text.slice(length)];
}

describe("parseCgiHead", () => {
  it("takes a document's fields", () => {
    assert.deepEqual(parsed("Content-Type: text/html\nX-A:  b c \n\n<p>\n\nbody"), [
      200,
      { "content-type": "text/html", "x-a": "b c" },
      "<p>\n\nbody",
    ]);
  });
  it("takes a status, and lines as HTTP has them", () => {
    assert.deepEqual(parsed("Status: 404 Not Found\r\nContent-Type: a/b\r\n\r\n\r\n"), [
      404,
      { "content-type": "a/b" },
      "\r\n",
    ]);
  });
  it("redirects where there is a location alone", () => {
    assert.deepEqual(parsed("Location: https://example.com/\n\n"), [302, { location: "https://example.com/" }, ""]);
    assert.deepEqual(parsed("Status: 301\nLocation: /a\n\n"), [301, { location: "/a" }, ""]);
  });
  it("takes no longer for blanks in a line than for anything else", () => {
    const value = `a${" ".repeat(60_000)}b`;
    // Each of them once took seconds.
    for (let i = 0; i < 100; i++) {
      assert.equal(parseCgiHead(bytes(`X-A:\t ${value} \t\r\n\r\n`)).headers.get("x-a"), value);
    }
  });
  it("takes none", () => assert.deepEqual(parsed("\nbody"), [200, {}, "body"]));
  it("keeps cookies apart, and leaves out what is of the connection or the daemon's", () => {
    const { headers } = parseCgiHead(
      bytes("Set-Cookie: a=1\nSet-Cookie: b=2\nTransfer-Encoding: chunked\nContent-Length: 9\nX-Mayfly-Start: x\n\n"),
    );
    assert.deepEqual(headers.getSetCookie(), ["a=1", "b=2"]);
    assert.deepEqual([...headers.keys()], ["set-cookie", "set-cookie"]);
  });

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ["no empty line", "Content-Type: a/b\nbody", /no end of CGI's header fields/],
    ["nothing at all", "", /no end/],
    ["what is no field", "hello\n\n", /"hello" is no header field/],
    ["a name with a space", "a b: c\n\n", /no header field/],
    ["NUL in a value", "a: b\0c\n\n", /no header field/],
    ["a status that is none", "Status: 101 Switching\n\n", /200 to 599/],
    ["too many", `${"a: b\n".repeat(129)}\n`, /more than 128/],
    ["too much", `a: ${"b".repeat(70_000)}\n\n`, /more than 65536 bytes/],
    ["no end of it", "a".repeat(70_000), /more than 65536 bytes/],
  ];
  for (const [name, text, message] of wrong) {
    it(`refuses ${name}`, () => {
      assert.throws(() => parseCgiHead(bytes(text)), { message, details: { reason: "bad_answer", phase: "answer" } });
    });
  }
});

describe("hasCgiHead", () => {
  it("waits for the empty line, as long as there may be one", () => {
    assert.equal(hasCgiHead(bytes("a: b\r\n")), false);
    assert.equal(hasCgiHead(bytes("a: b\r\n\r")), false);
    assert.equal(hasCgiHead(bytes("a: b\r\n\r\n")), true);
    assert.equal(hasCgiHead(bytes("a".repeat(65_537))), true);
  });
});

describe("withCgiHeaders", () => {
  it("puts the daemon's own last, but for the type", () => {
    const own = { "content-type": "a/b", "server-timing": "x" };
    const headers = withCgiHeaders(own, new Headers({ "content-type": "c/d", "x-a": "b" }));
    assert.deepEqual(Object.fromEntries(headers), { "content-type": "c/d", "server-timing": "x", "x-a": "b" });
    assert.equal(withCgiHeaders(own, new Headers()).get("content-type"), "a/b");
  });
});
