import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import type { AcceptedCall } from "../../src/core/call.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import type { LibsqlMetadata } from "../../src/metadata/metadata.ts";

const request = {
  method: "POST",
  scriptName: "/fn/f",
  path: "",
  query: "",
  headers: [["x-name", "Ada"]],
} satisfies AcceptedCall["request"];

describe("records of calls", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-calls-"));
  let metadata: LibsqlMetadata;
  let count = 0;

  before(async () => metadata = await openMetadata({ root: folder }));
  after(async () => {
    await metadata.close();
    rmSync(folder, { recursive: true, force: true });
  });
  let namespace: string;
  beforeEach(() => namespace = `n${count++}`);

  const accepted = (id: string, fields: Partial<AcceptedCall> = {}): AcceptedCall => ({
    id: `${namespace}-${id}`,
    namespace,
    function: "f",
    createdAt: new Date(),
    request,
    body: undefined,
    callback: undefined,
    ...fields,
  });
  const add = (id: string, fields: Partial<AcceptedCall> = {}) => {
    const call = accepted(id, fields);
    metadata.calls.add([call]);
    return call;
  };
  const begin = (call: AcceptedCall) => metadata.calls.begin(call, new Date());
  const statusOf = async ({ id }: AcceptedCall) => {
    const call = await metadata.calls.get(id);
    return call && [call.status, call.attempts];
  };

  it("keep the answer, and let go of what was asked", async () => {
    const call = add("a", { body: Uint8Array.of(1) });
    await begin(call);
    assert.equal(await metadata.calls.answer(call.id), undefined);
    const answer = { contentType: "text/plain", body: Uint8Array.of(7, 0) };
    await metadata.calls.finish(call, { status: "succeeded", invocation: "i", answer });
    assert.deepEqual(await metadata.calls.answer(call.id), answer);
    assert.deepEqual(await statusOf(call), ["succeeded", 1]);
    assert.equal((await metadata.calls.get(call.id, namespace))?.invocation, "i");
    assert.equal(await metadata.calls.get(call.id, "other"), undefined);
    assert.equal(await begin(call), undefined);
  });

  it("are made by a message where they were lost, and once", async () => {
    const call = accepted("a", { callback: "http://example.com/" });
    assert.deepEqual([(await begin(call))?.attempts, (await begin(call))?.attempts], [1, 2]);
    metadata.calls.add([call]);
    assert.deepEqual(await statusOf(call), ["running", 2]);
    assert.equal((await metadata.calls.get(call.id))?.callback?.status, "pending");
  });

  it("count attempts alone", async () => {
    const call = add("a");
    const dueAt = new Date(Date.now() + 60_000);
    for (const [counts, attempts] of [[true, 1], [false, 1]] as const) {
      await begin(call);
      await metadata.calls.finish(call, { status: "queued", error: "no room", dueAt, counts });
      assert.deepEqual(await statusOf(call), ["queued", attempts]);
    }
    assert.deepEqual((await metadata.calls.get(call.id))?.dueAt, dueAt);
  });

  it("of what a crash has interrupted wait again", async () => {
    // Of every namespace, what other tests are at too.
    await metadata.calls.recover();
    const [a, b] = [add("a"), add("b")];
    for (const call of [a, b]) await begin(call);
    await metadata.calls.finish(b, { status: "failed", error: "broken" });
    assert.equal(await metadata.calls.recover(), 1);
    assert.deepEqual([await statusOf(a), await statusOf(b)], [["queued", 1], ["failed", 1]]);
  });

  it("of what has failed keep what was asked, to be replayed; the message of before does nothing", async () => {
    const body = Uint8Array.of(0, 1, 255);
    const call = add("a", { body });
    assert.equal(await metadata.calls.failed(namespace, call.id), undefined);
    await begin(call);
    await metadata.calls.finish(call, { status: "failed", error: "broken" });
    assert.equal(await metadata.calls.failed("other", call.id), undefined);
    assert.deepEqual(await metadata.calls.failed(namespace, call.id), call);
    const again = { ...call, createdAt: new Date(call.createdAt.getTime() + 1) };
    await metadata.calls.replayed(again);
    assert.deepEqual(await statusOf(call), ["queued", 0]);
    assert.equal(await begin(call), undefined);
    assert.equal((await begin(again))?.attempts, 1);
    await metadata.calls.finish(again, { status: "failed", error: "broken" });
    // Its message may be quicker than its record.
    const third = { ...call, createdAt: new Date(again.createdAt.getTime() + 1) };
    assert.equal((await begin(third))?.attempts, 1);
    await metadata.calls.replayed(third);
    assert.deepEqual(await statusOf(call), ["running", 1]);
  });

  it("that are deleted do not run when their message comes", async () => {
    const [waits, runs, failed] = [add("a"), add("b"), add("c")];
    for (const call of [runs, failed]) await begin(call);
    await metadata.calls.finish(failed, { status: "failed", error: "broken" });
    for (const [call, there] of [[waits, true], [runs, false], [failed, true]] as const) {
      assert.equal(await metadata.calls.delete(namespace, call.id), there);
      assert.equal(await metadata.calls.delete(namespace, call.id), false);
    }
    assert.deepEqual((await metadata.calls.list(namespace, { limit: 10 })).map(({ id }) => id), [runs.id]);
    assert.equal(await statusOf(waits), undefined);
    assert.equal(await begin(waits), undefined);
    await metadata.calls.forget(waits.id);
    await metadata.calls.forget(runs.id);
    assert.deepEqual(await statusOf(runs), ["running", 1]);
    assert.equal((await begin(waits))?.attempts, 1);
  });

  it("go with their namespace, and forget the oldest that have ended", async () => {
    await metadata.namespaces.ensure(namespace);
    const [a, b, c] = [add("a"), add("b"), add("c")];
    for (const call of [a, b]) {
      await begin(call);
      await metadata.calls.finish(call, { status: "failed", error: "broken" });
    }
    await metadata.calls.prune(0);
    assert.deepEqual((await metadata.calls.list(namespace, { limit: 10 })).map(({ id }) => id), [c.id]);
    await metadata.namespaces.delete(namespace);
    assert.deepEqual(await metadata.calls.list(namespace, { limit: 10 }), []);
  });
});
