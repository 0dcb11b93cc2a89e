import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createApp } from "../../src/api/app.ts";
import { requireMeans } from "../../src/api/machine_means.ts";
import type { ApiParts } from "../../src/api/parts.ts";
import { needOf, needs } from "../../src/api/scopes.ts";
import { type Caller, rootCaller } from "../../src/core/access.ts";

describe("scopes", () => {
  it("are named for every route of the admin API, and for no other", () => {
    const { routes } = createApp({} as ApiParts, { listener: "socket" });
    // Functions ask themselves, by the API of AWS Lambda too.
    const admin = /^\/(?:v1\/|system\/|metrics$|openapi\.json$|\d{4}-\d\d-\d\d\/(?!.*invocations$))/;
    const served = routes.filter(({ method, path }) => method !== "ALL" && admin.test(path))
      .map(({ method, path }) => `${method} ${path.replace(/(.)\/$/, "$1")}`);
    assert.deepEqual([...new Set(served)].sort(), Object.keys(needs).sort());
  });

  it("are everything for what is not named", () => {
    for (const [method, path] of [["GET", "/v1/new"], ["HEAD", "/v1/gc"], ["GET", "/v1/constructor"]] as const) {
      assert.deepEqual(needOf(method, path), { scope: "admin", where: "machine" });
    }
  });
});

describe("requireMeans()", () => {
  const tenant: Caller = { name: "tenant", key: "t", grants: [{ scopes: ["admin"], namespace: "team" }] };
  const bind = { type: "bind", source: "/etc", target: "/x" };
  for (
    const [what, settings, refused] of [
      ["nothing of it", {}, false],
      ["memory", { mounts: [{ type: "tmpfs", target: "/x" }] }, false],
      ["a bridge", { network: "bridge" }, false],
      ["files of the machine", { mounts: [bind] }, true],
      ["them behind memory", { mounts: [{ type: "tmpfs", target: "/y" }, bind] }, true],
      ["the machine's network", { network: "host" }, true],
      ["a network of the machine's configuration", { network: "cni:lan" }, true],
      ["what is beyond the machine", { network: "bridge", egress: true }, true],
      ["ports of the machine", { ports: [{ containerPort: 80 }] }, true],
      ["a checkpoint", { restore: true }, true],
    ] as const
  ) {
    it(`${refused ? "refuses" : "lets"} a tenant have ${what}`, () => {
      const ask = (caller: Caller) => requireMeans(caller, { image: "x", ...settings }, "deploy");
      if (refused) assert.throws(() => ask(tenant), { code: "permission_denied" });
      else ask(tenant);
      ask(rootCaller);
    });
  }
});
