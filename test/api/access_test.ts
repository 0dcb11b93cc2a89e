import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Hono } from "hono";
import { type Access, checkHost, identifyCaller, requireRight } from "../../src/api/access.ts";
import { problemResponse } from "../../src/api/errors.ts";
import type { ApiEnv } from "../../src/api/observe_requests.ts";
import { authenticator } from "../../src/access/authenticate.ts";

const token = "0123456789abcdef-token";
const authenticate = authenticator({ tokens: { find: () => Promise.resolve(undefined) }, adminToken: token });

async function ask(access: Access, headers: Record<string, string>): Promise<number> {
  const app = new Hono<ApiEnv>().use(checkHost(access), identifyCaller(access, { authenticate })).use(
    "/v1/*",
    requireRight(access),
  );
  app.get("/v1/info", (c) => c.text("served"));
  app.onError((error) => problemResponse(error));
  return (await app.request("/v1/info", { headers })).status;
}

describe("checkHost()", () => {
  const tcp = (change: Partial<Access> = {}): Access => ({ listener: "tcp", admin: true, ...change });
  const authorization = `Bearer ${token}`;
  for (
    const [name, access, headers, status] of [
      ["serves localhost", {}, { host: "localhost:8080" }, 200],
      ["serves 127.0.0.1", {}, { host: "127.0.0.1:8080" }, 200],
      ["serves [::1]", {}, { host: "[::1]:8080" }, 200],
      ["takes names in any case", {}, { host: "LocalHost" }, 200],
      ["refuses a name that was rebound", {}, { host: "evil.example:8080" }, 403],
      ["refuses a name that only begins like one of ours", {}, { host: "localhost.evil.example" }, 403],
      ["refuses no Host at all", {}, { host: "" }, 403],
      ["refuses an address that is not its own", {}, { host: "10.0.0.1:8080" }, 403],
      ["serves the listener's own address", { address: "10.0.0.1" }, { host: "10.0.0.1:8080" }, 200],
      ["serves the listener's own IPv6 address", { address: "fd00::1" }, { host: "[fd00::1]:8080" }, 200],
      ["serves any address where bound to all", { address: "0.0.0.0" }, { host: "10.0.0.9:8080" }, 200],
      ["refuses names where bound to all", { address: "0.0.0.0" }, { host: "evil.example" }, 403],
      ["serves names that are configured", { allowedHosts: ["fn.example"] }, { host: "fn.example" }, 200],
      ["refuses a page from elsewhere", {}, { host: "localhost", origin: "https://evil.example" }, 403],
      ["refuses a page of no origin", {}, { host: "localhost", origin: "null" }, 403],
      ["serves its own pages", {}, { host: "localhost:8080", origin: "http://localhost:8080" }, 200],
      ["refuses what a page from elsewhere loads without saying its origin", {}, {
        host: "localhost",
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "no-cors",
        "sec-fetch-dest": "image",
      }, 403],
      ["refuses a frame in a page from elsewhere", {}, {
        host: "localhost",
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "iframe",
      }, 403],
      ["serves who follows a link from elsewhere", {}, {
        host: "localhost",
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
      }, 200],
      ["serves pages of configured names", { allowedHosts: ["app.example"] }, {
        host: "localhost",
        origin: "https://app.example",
      }, 200],
    ] as const
  ) {
    it(name, async () => {
      assert.equal(await ask(tcp(access), { authorization, ...headers }), status);
    });
  }
});

describe("requireRight()", () => {
  const host = "localhost";
  for (
    const [name, access, headers, status] of [
      ["opens everything on the socket", { listener: "socket" }, {}, 200],
      [
        "serves nothing over TCP by default",
        { listener: "tcp" },
        { authorization: `Bearer ${token}` },
        403,
      ],
      ["wants the token", { listener: "tcp", admin: true }, {}, 401],
      ["refuses another token", { listener: "tcp", admin: true }, { authorization: "Bearer x" }, 401],
      ["refuses the token's beginning", { listener: "tcp", admin: true }, {
        authorization: `Bearer ${token.slice(0, -1)}`,
      }, 401],
      [
        "refuses another scheme",
        { listener: "tcp", admin: true },
        { authorization: `Basic ${token}` },
        401,
      ],
      ["takes the token", { listener: "tcp", admin: true }, { authorization: `Bearer ${token}` }, 200],
      [
        "takes the scheme in any case",
        { listener: "tcp", admin: true },
        { authorization: `bearer ${token}` },
        200,
      ],
    ] as const
  ) {
    it(name, async () => {
      assert.equal(await ask(access, { host, ...headers }), status);
    });
  }
});
