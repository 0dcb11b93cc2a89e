import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, describe, it } from "node:test";
import { SignJWT } from "jose";
import * as v from "valibot";
import { Oidc } from "../../src/access/oidc.ts";
import { may } from "../../src/core/access.ts";
import { OidcSchema } from "../../src/core/oidc.ts";
import { OidcIssuer } from "../support/oidc_issuer.ts";

describe("Oidc", () => {
  let issuer: OidcIssuer;
  before(async () => {
    issuer = await OidcIssuer.start();
    for (const alg of ["RS256", "PS256", "ES256", "EdDSA"]) await issuer.addKey(alg, alg);
  });
  after(() => issuer[Symbol.asyncDispose]());

  const open = (change: Partial<v.InferInput<typeof OidcSchema>> = {}) =>
    new Oidc(v.parse(OidcSchema, {
      issuer: issuer.url,
      audience: "mayfly",
      grants: [
        { claim: "groups", value: "ops", scopes: ["admin"], namespace: "*" },
        { claim: "realm_access.roles", value: "caller", scopes: ["invoke"], namespace: "team" },
        { claim: "scope", value: "mayfly:read", scopes: ["read"] },
        { claim: "https://app.example/role", value: "deployer", scopes: ["deploy"] },
      ],
      ...change,
    }));

  it("takes what the issuer has signed, by each algorithm", async () => {
    const oidc = open();
    for (const alg of ["RS256", "PS256", "ES256", "EdDSA"]) {
      const caller = await oidc.find(await issuer.sign(alg, { sub: `a ${alg}` }));
      assert.deepEqual([caller?.name, caller?.grants], [`subject "a ${alg}"`, []]);
    }
    assert.equal(issuer.asked.filter((path) => path === "/keys").length, 1);
  });

  it("gives the scopes whose rules fit: an item of a list, a word of a text, a path", async () => {
    const oidc = open();
    const of = async (claims: Record<string, unknown>) => {
      const caller = await oidc.find(await issuer.sign("ES256", claims));
      assert.ok(caller);
      return caller;
    };
    assert.ok(may(await of({ groups: ["dev", "ops"] }), "admin", "*"));
    assert.ok(!may(await of({ groups: ["devops"] }), "read", "default"));
    const calls = await of({ realm_access: { roles: ["caller"] }, scope: "openid mayfly:read" });
    assert.ok(may(calls, "invoke", "team") && !may(calls, "invoke", "default") && may(calls, "read", "default"));
    assert.ok(may(await of({ "https://app.example/role": "deployer" }), "deploy", "default"));
    assert.deepEqual((await of({ groups: { ops: true }, scope: 5, realm_access: null })).grants, []);
  });

  it("refuses what is not valid, and says what about it", async () => {
    const oidc = open();
    const past = Math.floor(Date.now() / 1000) - 3600;
    for (
      const [token, pattern] of [
        [await issuer.sign("ES256", { exp: past }), /has expired: get another/],
        [await issuer.sign("ES256", { aud: "other" }), /is not for here: unexpected "aud"/],
        [await issuer.sign("ES256", { nbf: past + 7200 }), /is not for here: "nbf"/],
        [await issuer.sign("ES256", { exp: undefined }), /is not for here: missing required "exp"/],
        [await issuer.sign("ES256", { sub: undefined }), /is not for here: missing required "sub"/],
        [await issuer.sign("ES256", {}, { named: "RS256" }), /is (not signed by one of its keys|malformed)/],
        [`${(await issuer.sign("ES256")).slice(0, -6)}AAAAAA`, /is not signed by one of its keys/],
      ] as const
    ) {
      await assert.rejects(oidc.find(token), { code: "unauthenticated", message: pattern });
    }
    const json = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { iss: issuer.url, aud: "mayfly", sub: "a", exp: past + 7200 };
    const secret = new TextEncoder().encode("a secret that both would know, as long as it has to be");
    for (
      const token of [
        `${json({ alg: "none" })}.${json(claims)}.AA`,
        await new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid: "ES256" }).sign(secret),
      ]
    ) {
      await assert.rejects(oidc.find(token), { code: "unauthenticated", message: /algorithm that is not taken/ });
    }
    await assert.rejects(open({ algorithms: ["RS256"] }).find(await issuer.sign("ES256")), { code: "unauthenticated" });
  });

  it("leaves to others what is not of the issuer", async () => {
    const oidc = open();
    const other = await issuer.sign("ES256", { iss: "https://other.example" });
    for (const text of ["", "a.b.c", "mayfly_x_y", other, `${"x".repeat(20_000)}.a.b`]) {
      assert.equal(await oidc.find(text), undefined);
    }
  });

  it("takes up new keys, and does not ask again and again for one that is not there", async () => {
    await using own = await OidcIssuer.start();
    await own.addKey("old", "ES256");
    const oidc = new Oidc(v.parse(OidcSchema, {
      issuer: own.url,
      audience: ["x", "mayfly"],
      grants: [{ claim: "sub", value: "alice", scopes: ["read"] }],
    }));
    assert.ok(await oidc.find(await own.sign("old")));
    await own.addKey("new", "ES256");
    const token = await own.sign("new");
    for (let i = 0; i < 5; i++) await assert.rejects(oidc.find(token), { code: "unauthenticated" });
    assert.equal(own.asked.filter((path) => path === "/keys").length, 1);
  });

  it("says that it cannot tell while the issuer is away, lies or says too much", async () => {
    for (
      const [change, pattern] of [
        [{ status: 503 }, /is answered with 503/],
        [{ discovery: { issuer: "https://other.example" } }, /is of issuer "https:\/\/other\.example"/],
        [{ discovery: { jwks_uri: 5 } }, /is no discovery document/],
        [{ padding: "x".repeat(600_000) }, /has more than 524288 bytes/],
      ] as const
    ) {
      await using own = await OidcIssuer.start();
      await own.addKey("a", "ES256");
      const token = await own.sign("a");
      Object.assign(own, change);
      const oidc = new Oidc(v.parse(OidcSchema, {
        issuer: own.url,
        audience: "mayfly",
        grants: [{ claim: "sub", value: "alice", scopes: ["read"] }],
      }));
      await assert.rejects(oidc.find(token), { code: "unavailable", message: pattern });
    }
  });

  it("is configured by URLs that nobody on the way can answer for", () => {
    const grants = [{ claim: "sub", value: "a", scopes: ["read"] }];
    const fits = (issuer: string) => v.is(OidcSchema, { issuer, audience: "x", grants });
    for (const url of ["https://id.example", "https://id.example/realms/a", "http://127.0.0.1:8080"]) {
      assert.ok(fits(url), url);
    }
    for (
      const url of ["http://id.example", "id.example", "https://id.example/?a", "https://u:p@id.example", "file:///etc"]
    ) {
      assert.ok(!fits(url), url);
    }
    assert.ok(!v.is(OidcSchema, { issuer: "https://id.example", audience: "x", grants: [] }));
  });
});
