import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clientAddress } from "../../src/api/client_address.ts";

describe("clientAddress()", () => {
  const near = { address: "10.0.0.7", port: 4711 };
  for (
    const [name, trusted, peer, forwarded, wanted] of [
      ["is the connection's other end", [], near, "192.0.2.1", near],
      ["is unknown over the Unix socket", [], undefined, "192.0.2.1", undefined],
      ["takes a trusted proxy's word", ["10.0.0.7"], near, "192.0.2.1", { address: "192.0.2.1" }],
      ["takes a network's word", ["10.0.0.0/8"], near, "192.0.2.1", { address: "192.0.2.1" }],
      ["takes nobody else's word", ["10.1.0.0/16", "unix"], near, "192.0.2.1", near],
      ["takes a trusted socket's word", ["unix"], undefined, "192.0.2.1", { address: "192.0.2.1" }],
      ["passes over proxies in a row", ["10.0.0.0/8"], near, "192.0.2.1, 10.0.0.8", { address: "192.0.2.1" }],
      ["believes nothing behind the first stranger", ["10.0.0.0/8"], near, "127.0.0.1, 192.0.2.1", {
        address: "192.0.2.1",
      }],
      ["reads IPv6", ["::1"], { address: "::1", port: 1 }, "[2001:db8::1]", { address: "2001:db8::1" }],
      ["stops at what is no address", ["10.0.0.0/8"], near, "unknown", near],
      ["is the proxy where it says nothing", ["10.0.0.0/8"], near, undefined, near],
    ] as const
  ) {
    it(name, () => {
      const headers = new Headers(forwarded === undefined ? {} : { "x-forwarded-for": forwarded });
      assert.deepEqual(clientAddress(trusted)(headers, { connection: { peer: () => peer } }), wanted);
    });
  }

  it("is unknown for a request of this process's own", () => {
    assert.equal(clientAddress([])(new Headers(), undefined), undefined);
  });
});
