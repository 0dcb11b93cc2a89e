import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Tokens } from "../../src/access/tokens.ts";
import { may } from "../../src/core/access.ts";
import { temporaryMetadata } from "../metadata/open.ts";

describe("Tokens", () => {
  const world = async () => {
    const opened = await temporaryMetadata();
    const { tokens: store, namespaces } = opened.metadata;
    const clock = { now: 1_000_000 };
    const open = () => Tokens.open({ store, namespaces, now: () => clock.now });
    return {
      store,
      namespaces,
      clock,
      open,
      tokens: await open(),
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    };
  };

  it("tells a token once, and keeps a hash of it alone", async () => {
    await using all = await world();
    const { token, ...info } = await all.tokens.create("team", { name: "ci", scopes: ["deploy"] });
    assert.match(token, /^mayfly_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/);
    const secret = token.split("_").slice(2).join("_");
    assert.ok(!JSON.stringify([await all.store.list(), all.tokens.list(), info]).includes(secret));
    assert.match((await all.store.list())[0]?.hash ?? "", /^sha256:[0-9a-f]{64}$/);
    assert.deepEqual(all.tokens.list(), [info]);
    // As another process does that opens the same folder.
    const caller = await (await all.open()).find(token);
    assert.equal(caller?.name, 'token "ci"');
    assert.ok(caller && may(caller, "deploy", "team") && !may(caller, "deploy", "default"));
  });

  it("finds nobody by what is no token", async () => {
    await using all = await world();
    const { token } = await all.tokens.create("*", { name: "ci", scopes: ["admin"] });
    const other = token.endsWith("A") ? "B" : "A";
    for (const text of ["", "mayfly_", token.slice(0, -1), `${token.slice(0, -1)}${other}`, `${token}A`, ` ${token}`]) {
      assert.equal(await all.tokens.find(text), undefined, text);
    }
  });

  it("takes none that has expired, was removed, or whose namespace is gone", async () => {
    await using all = await world();
    const { token } = await all.tokens.create("team", { name: "short", scopes: ["read"], expiresInMs: 1000 });
    const kept = await all.tokens.create("team", { name: "kept", scopes: ["read"] });
    all.clock.now += 999;
    assert.ok(await all.tokens.find(token));
    all.clock.now += 1;
    await assert.rejects(all.tokens.find(token), { code: "unauthenticated", message: /"short" has expired at 1970/ });
    await assert.rejects(all.tokens.create("team", { name: "short", scopes: ["read"] }), { code: "already_exists" });
    await all.tokens.remove("team", "short");
    assert.equal(await all.tokens.find(token), undefined);
    await assert.rejects(all.tokens.remove("team", "short"), { code: "not_found" });
    assert.equal(await all.namespaces.delete("team"), true);
    all.tokens.forget("team");
    assert.equal(await all.tokens.find(kept.token), undefined);
    assert.deepEqual(await all.store.list(), []);
  });
});
