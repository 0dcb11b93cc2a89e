import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { OidcIssuer } from "../support/oidc_issuer.ts";

describe("tokens of an OIDC issuer", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-oidc-"));
  let issuer: OidcIssuer;
  let daemon: MayflyProcess;
  const ask = (path: string, token: string, init: RequestInit = {}) =>
    fetch(`${daemon.url}${path}`, { ...init, headers: { authorization: `Bearer ${token}` } });
  const detail = async (answer: Response) => (await answer.json() as { detail: string }).detail;

  before(async () => {
    issuer = await OidcIssuer.start();
    await issuer.addKey("one", "RS256");
    const oidc = {
      issuer: issuer.url,
      audience: "mayfly",
      grants: [
        { claim: "groups", value: "callers", scopes: ["invoke"] },
        { claim: "groups", value: "ops", scopes: ["admin"], namespace: "*" },
      ],
    };
    daemon = await MayflyProcess.start(folder, ["--admin-tcp", "--registry-listen", "127.0.0.1:0"], {
      MAYFLY_OIDC: JSON.stringify(oidc),
    });
    for (
      const args of [
        ["import", ...stateFlags(folder), makeBusyboxImage(folder, "box:1")],
        ["deploy", ...stateFlags(folder), "shut", "--image", "box:1", "--auth", "token", "--", "cat"],
      ]
    ) {
      const { code, stderr } = await mayfly(args);
      assert.equal(code, 0, stderr);
    }
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    await issuer[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("call functions, and use the admin API and the registry, as their claims allow", async () => {
    const caller = await issuer.sign("one", { groups: ["callers"] });
    const answer = await ask("/fn/shut", caller, { method: "POST", body: "hello" });
    assert.deepEqual([answer.status, await answer.text()], [200, "hello"]);
    const refused = await ask("/v1/functions", caller);
    assert.equal(refused.status, 403);
    assert.match(await detail(refused), /subject "alice" has invoke in .*, wanted read in .*: a rule of oidc\.grants/);
    const ops = await issuer.sign("one", { groups: ["ops"] });
    assert.equal((await ask("/v1/functions?namespace=other", ops)).status, 200);
    const registry = /listens on (http:\S+\/v2\/)/.exec(daemon.log())?.[1] ?? "";
    const login = async (token: string) =>
      (await fetch(registry, { headers: { authorization: `Basic ${btoa(`default:${token}`)}` } })).status;
    assert.deepEqual([await login(ops), await login(caller)], [200, 403]);
    assert.equal((await ask("/fn/shut", await issuer.sign("one"), { method: "POST" })).status, 403);
  });

  it("are refused where they are not valid, and are not told to anybody", async () => {
    for (const claims of [{ aud: "other" }, { exp: 1000 }, { iss: "https://other.example" }]) {
      const token = await issuer.sign("one", { groups: ["ops"], ...claims });
      const answer = await ask("/v1/functions", token);
      assert.equal(answer.status, 401);
      assert.ok(!(await detail(answer)).includes(token.slice(0, 20)));
      assert.ok(!daemon.log().includes(token.slice(0, 20)));
    }
  });
});
