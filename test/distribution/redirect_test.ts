import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { endpointOf, isLoopback } from "../../src/distribution/endpoint.ts";
import { checkNetwork, redirected } from "../../src/distribution/redirect.ts";
import { parseReference } from "../../src/core/reference.ts";

describe("redirected()", () => {
  const followed: readonly [from: string, location: string, to: string][] = [
    ["https://r.io/v2/a", "/b?c", "https://r.io/b?c"],
    ["https://r.io/v2/a", "https://cdn.io/x", "https://cdn.io/x"],
    ["https://r.io/v2/a", "//cdn.io/x", "https://cdn.io/x"],
    ["https://r.io/v2/a", "https://u:p@cdn.io/x", "https://cdn.io/x"],
    ["http://r.io/v2/a", "https://cdn.io/x", "https://cdn.io/x"],
    ["http://127.0.0.1:5000/v2/a", "http://localhost:9000/x", "http://localhost:9000/x"],
  ];
  for (const [from, location, to] of followed) {
    it(`follows ${from} to ${location}`, () => assert.equal(redirected(new URL(from), location).href, to));
  }

  const refused: readonly [from: string, location: string, why: RegExp][] = [
    ["https://r.io/v2/a", "http://r.io/x", /it leaves https/],
    ["https://r.io/v2/a", "http://169.254.169.254/latest", /it leaves https/],
    ["https://r.io/v2/a", "https://127.0.0.1/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://127.1/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://[::1]:8080/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://[::ffff:127.0.0.1]/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://localhost./x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://a.localhost/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://0:8080/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://[::]:8080/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://[::ffff:0.0.0.0]/x", /it leads into this machine/],
    ["http://r.io/v2/a", "http://169.254.169.254/latest/meta-data/", /or its link/],
    ["http://r.io/v2/a", "http://0xa9fea9fe/latest", /or its link/],
    ["http://r.io/v2/a", "http://[::ffff:169.254.169.254]/latest", /or its link/],
    ["http://r.io/v2/a", "http://[fd00:ec2::254]/latest", /or its link/],
    ["http://r.io/v2/a", "http://[fe80::1]/x", /or its link/],
    ["https://r.io/v2/a", "ftp://r.io/x", /neither https nor http/],
    ["https://r.io/v2/a", "https://", /it is no address/],
  ];
  for (const [from, location, why] of refused) {
    it(`refuses ${from} to ${location}`, () => {
      assert.throws(() => redirected(new URL(from), location), { code: "permission_denied", message: why });
    });
  }

  it("does not show what may be a signature", () => {
    assert.throws(() => redirected(new URL("https://r.io/"), "http://cdn.io/x?sig=secret"), (error: Error) => {
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });
});

describe("a redirect into a private network", () => {
  const names: Readonly<Record<string, readonly string[]>> = {
    "r.io": ["203.0.113.5"],
    "registry.corp": ["10.1.2.3"],
    "here.example": ["::1"],
    "both.example": ["203.0.113.5", "10.0.0.9"],
    "inside.example": ["10.0.0.5"],
    "loop.example": ["203.0.113.7", "127.0.0.1"],
    "secrets.example": ["169.254.169.254"],
    "link.example": ["fe80::1%eth0"],
  };
  const check = (from: string, to: string) =>
    checkNetwork(new URL(from), new URL(to), async (name) => names[name] ?? Promise.reject(new Error("no such name")));

  const inside = ["10.0.0.5", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "0xa000005", "[fd12::1]"];
  for (const host of [...inside, "[::ffff:10.0.0.5]", "[64:ff9b::10.0.0.5]", "inside.example", "both.example"]) {
    it(`is refused from outside: ${host}`, async () => {
      const why = { code: "permission_denied", message: /private network that the registry is no part of/ };
      await assert.rejects(check("https://r.io/v2/", `https://${host}/x?sig=1`), why);
      await assert.rejects(check("https://unknown.example/v2/", `https://${host}/x`), why);
      if (host !== "both.example") await assert.rejects(check("https://both.example/", `https://${host}/x`), why);
    });
  }

  for (const host of ["loop.example", "secrets.example", "link.example"]) {
    it(`is refused where a name is of this machine or its link: ${host}`, async () => {
      const why = { code: "permission_denied", message: /it leads into this machine or its link/ };
      for (const from of ["https://r.io/", "http://registry.corp/", "https://unknown.example/"]) {
        await assert.rejects(check(from, `http://${host}/x`), why);
      }
      await check("http://here.example/", `http://${host}/x`);
    });
  }

  it("is known by the addresses that were looked at, of names alone", async () => {
    assert.deepEqual(await check("http://registry.corp/", "http://both.example/x"), names["both.example"]);
    assert.deepEqual(await check("https://r.io/", "http://gone.example/x"), []);
    assert.equal(await check("https://r.io/", "http://203.0.113.9/x"), undefined);
    assert.equal(await check("https://r.io/", "https://r.io/x"), undefined);
  });

  it("is followed from within one, and to all others", async () => {
    for (
      const from of [
        "http://registry.corp/",
        "http://192.168.0.9:5000/",
        "http://localhost:5000/",
        "http://here.example/",
      ]
    ) {
      await check(from, "http://10.0.0.5:9000/x");
    }
    for (const to of ["https://r.io/x", "https://172.32.0.1/x", "https://100.128.0.1/x", "https://11.0.0.1/x"]) {
      await check("https://r.io/", to);
    }
  });
});

describe("endpointOf()", () => {
  const table: readonly [reference: string, plainHttp: boolean | undefined, url: string][] = [
    ["busybox", undefined, "https://registry-1.docker.io/v2/"],
    ["r.io/x", undefined, "https://r.io/v2/"],
    ["r.io/x", true, "http://r.io/v2/"],
    ["localhost/x", undefined, "http://localhost/v2/"],
    ["localhost:5000/x", false, "https://localhost:5000/v2/"],
    ["127.9.9.9:5000/x", undefined, "http://127.9.9.9:5000/v2/"],
    ["[::1]:5000/x", undefined, "http://[::1]:5000/v2/"],
    ["[::2]/x", undefined, "https://[::2]/v2/"],
    ["127.0.0.1.evil.io/x", undefined, "https://127.0.0.1.evil.io/v2/"],
    ["localhost.evil.io/x", undefined, "https://localhost.evil.io/v2/"],
  ];
  for (const [reference, plainHttp, url] of table) {
    it(`${reference} is at ${url}`, () => assert.equal(endpointOf(parseReference(reference), plainHttp).href, url));
  }

  it("0.0.0.0 is taken for another machine", () => assert.equal(isLoopback(new URL("http://0.0.0.0")), false));
});
