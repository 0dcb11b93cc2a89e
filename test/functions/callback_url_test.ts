import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseCallbackUrl } from "../../src/functions/callback_url.ts";

const hosts = ["example.com", "*.example.org", "other.net:8443", "[::1]:80"];

describe("parseCallbackUrl", () => {
  for (
    const url of [
      "https://example.com/a?b=c",
      "http://example.com/",
      "https://a.b.example.org/",
      "https://other.net:8443/x",
      "http://[::1]/",
    ]
  ) {
    it(`takes ${url}`, () => assert.equal(parseCallbackUrl(url, hosts), url));
  }

  for (
    const url of [
      "https://example.com:444/",
      "https://example.org/",
      "https://badexample.org/",
      "https://other.net/",
      "http://127.0.0.1/",
      "https://example.com.evil.net/",
      "http://[::1]:81/",
    ]
  ) {
    it(`refuses ${url}`, () => {
      assert.throws(() => parseCallbackUrl(url, hosts), { code: "permission_denied" });
    });
  }

  for (
    const url of [
      "",
      "example.com",
      "file:///etc/passwd",
      "https://a:b@example.com/",
      `https://example.com/${"a".repeat(2048)}`,
    ]
  ) {
    it(`does not understand ${JSON.stringify(url.slice(0, 40))}`, () => {
      assert.throws(() => parseCallbackUrl(url, ["*"]), { code: "invalid_argument" });
    });
  }

  it("takes any host where it may be any, and leaves out the fragment", () => {
    assert.equal(parseCallbackUrl("http://127.0.0.1:81/a#b", ["*"]), "http://127.0.0.1:81/a");
  });
});
