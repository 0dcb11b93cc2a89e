import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { FunctionInputSchema } from "../../src/core/function.ts";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { allToLatest, type Traffic } from "../../src/core/revision.ts";
import { temporaryMetadata } from "./open.ts";

const digest = (digit: string) => `sha256:${digit.repeat(64)}` as const;
const target = (digit: string) => ({ mediaType: mediaTypes.index, digest: digest(digit), size: 1234 });
const settings = v.parse(FunctionInputSchema, { image: "busybox", env: { GREETING: "hello" } });

describe("NamespaceStore", () => {
  it("has default from the start, and ensure() keeps what is there", async () => {
    await using opened = await temporaryMetadata();
    const { namespaces } = opened.metadata;
    const made = await namespaces.ensure("team", { owner: "a" });
    assert.deepEqual(await namespaces.ensure("team", { owner: "b" }), made);
    assert.deepEqual((await namespaces.list()).map(({ name }) => name), ["default", "team"]);
  });

  it("delete() refuses default and what has something in it", async () => {
    await using opened = await temporaryMetadata();
    const { namespaces, images, containers } = opened.metadata;
    await assert.rejects(namespaces.delete("default"), { code: "failed_precondition" });
    await images.put({ namespace: "a", name: "busybox", target: target("1") });
    await assert.rejects(namespaces.delete("a"), { code: "failed_precondition" });
    await images.delete("a", "busybox");
    await containers.create({
      namespace: "a",
      id: "c",
      image: undefined,
      runtime: "native",
      snapshotter: "overlay",
      snapshotKey: undefined,
      spec: {},
      labels: {},
    });
    await assert.rejects(namespaces.delete("a"), { code: "failed_precondition" });
    await containers.delete("a", "c");
    assert.equal(await namespaces.delete("a"), true);
    assert.equal(await namespaces.delete("a"), false);
  });
});

describe("ImageStore", () => {
  it("put() creates a name, then points it at a new target and keeps its labels", async () => {
    await using opened = await temporaryMetadata();
    const { images } = opened.metadata;
    const first = await images.put({ namespace: "default", name: "x", target: target("1"), labels: { a: "b" } });
    const second = await images.put({ namespace: "default", name: "x", target: target("2") });
    assert.deepEqual(second.labels, { a: "b" });
    assert.deepEqual(second.createdAt, first.createdAt);
    assert.deepEqual(await images.get("default", "x"), second);
    assert.equal(second.target.digest, digest("2"));
  });

  it("keeps namespaces apart, all() has every one", async () => {
    await using opened = await temporaryMetadata();
    const { images } = opened.metadata;
    await images.put({ namespace: "a", name: "x", target: target("1") });
    await images.put({ namespace: "b", name: "x", target: target("2") });
    assert.equal((await images.list("a")).length, 1);
    assert.equal((await images.all()).length, 2);
    assert.equal(await images.delete("a", "x"), true);
    assert.equal(await images.delete("a", "x"), false);
    assert.equal(await images.get("a", "x"), undefined);
  });
});

describe("FunctionStore", () => {
  it("put() counts revisions and keeps the day of creation", async () => {
    await using opened = await temporaryMetadata();
    const { functions } = opened.metadata;
    const first = await functions.put({ namespace: "default", name: "hello", digest: digest("1"), ...settings });
    assert.equal(first.revision, 1);
    const second = await functions.put({ namespace: "default", name: "hello", digest: digest("2"), ...settings });
    assert.equal(second.revision, 2);
    assert.deepEqual(second.createdAt, first.createdAt);
    assert.deepEqual(await functions.get("default", "hello"), second);
    assert.deepEqual(second.env, { GREETING: "hello" });
    assert.deepEqual(await functions.list("default"), [second]);
    assert.deepEqual(await Array.fromAsync(functions.all()), [second]);
    assert.equal(await functions.delete("default", "hello"), true);
    assert.equal(await functions.get("default", "hello"), undefined);
  });

  it("notes which revisions have had traffic", async () => {
    await using opened = await temporaryMetadata();
    const { functions } = opened.metadata;
    const put = (traffic?: Traffic) =>
      functions.put({ namespace: "default", name: "f", digest: digest("1"), ...settings }, { traffic });
    const answered = async () => (await functions.revisions("default", "f")).map(({ answered }) => answered);
    const only = (revision: string) => ({ split: [{ revision, percent: 100 }], tags: { next: "latest" } });
    await put();
    await put(only("f-00001"));
    await put();
    assert.deepEqual(await answered(), [false, false, true]);
    await functions.setTraffic("default", "f", only("f-00002"));
    assert.deepEqual(await answered(), [false, true, true]);
    await put(only("latest"));
    await put(only("f-00001"));
    assert.deepEqual(await answered(), [false, true, false, true, true]);
  });

  it("all() reads all, in order, however many there are", async () => {
    await using opened = await temporaryMetadata();
    const { functions } = opened.metadata;
    const names = Array.from({ length: 205 }, (_, i) => `f${String(i).padStart(3, "0")}`);
    for (const namespace of ["b", "a"]) {
      for (const name of names) await functions.put({ namespace, name, digest: digest("1"), ...settings });
    }
    const read = await Array.fromAsync(functions.all());
    const wanted = ["a", "b"].flatMap((namespace) => names.map((name) => `${namespace}/${name}`));
    assert.deepEqual(read.map(({ namespace, name }) => `${namespace}/${name}`), wanted);
  });

  it("images() has those of all revisions, and those that they mount", async () => {
    await using opened = await temporaryMetadata();
    const { functions } = opened.metadata;
    const mount = { type: "image", source: "tools", target: "/tools", digest: digest("3") } as const;
    const tmpfs = { type: "tmpfs", target: "/scratch", mode: 0o1777 } as const;
    for (const each of ["1", "2", "2"]) {
      const mounts = each === "2" ? [tmpfs, mount] : [];
      await functions.put({ namespace: "default", name: "hello", digest: digest(each), ...settings, mounts });
    }
    // More than are read at once.
    for (let i = 0; i < 101; i++) {
      await functions.put({ namespace: "default", name: `f${i}`, digest: digest("4"), ...settings, image: `${i}` });
    }
    const used = await functions.images();
    assert.equal(used.length, 104);
    assert.deepEqual(used.filter(({ digest: found }) => found !== digest("4")), [
      { namespace: "default", image: "busybox", digest: digest("1") },
      { namespace: "default", image: "busybox", digest: digest("2") },
      { namespace: "default", image: "tools", digest: digest("3") },
    ]);
  });

  it("keeps the newest revisions, and those that have traffic or a tag", async () => {
    await using opened = await temporaryMetadata();
    const { functions } = opened.metadata;
    const put = (keep: number) =>
      functions.put({ namespace: "default", name: "hello", digest: digest("1"), ...settings }, { keep });
    const kept = async () => (await functions.revisions("default", "hello")).map(({ revision }) => revision);
    for (let i = 0; i < 3; i++) await put(10);
    await functions.put({ namespace: "default", name: "other", digest: digest("2"), ...settings }, { keep: 1 });
    const traffic = { split: [{ revision: "hello-00001", percent: 100 }], tags: { blue: "hello-00002" } };
    const moved = await functions.setTraffic("default", "hello", traffic);
    assert.deepEqual([moved?.traffic, moved?.revision], [traffic, 3]);
    for (let i = 0; i < 3; i++) assert.deepEqual((await put(2)).traffic, traffic);
    assert.deepEqual(await kept(), [6, 5, 2, 1]);
    await functions.setTraffic("default", "hello", allToLatest, { keep: 1 });
    assert.deepEqual(await kept(), [6]);
    assert.equal(await functions.revision("default", "hello", 5), undefined);
    assert.equal((await functions.revision("default", "hello", 6))?.env["GREETING"], "hello");
    assert.deepEqual(await functions.images(), [
      { namespace: "default", image: "busybox", digest: digest("1") },
      { namespace: "default", image: "busybox", digest: digest("2") },
    ]);
    await functions.delete("default", "hello");
    assert.deepEqual(await kept(), []);
    assert.equal((await put(10)).revision, 1);
    assert.equal(await functions.setTraffic("default", "nothing", traffic), undefined);
  });
});

describe("ContainerStore", () => {
  it("create() refuses a second use of an id in a namespace", async () => {
    await using opened = await temporaryMetadata();
    const { containers } = opened.metadata;
    const container = {
      namespace: "default",
      id: "c",
      image: "busybox",
      runtime: "native",
      snapshotter: "overlay",
      snapshotKey: undefined,
      spec: { ociVersion: "1.2.0" },
      labels: {},
    };
    const made = await containers.create(container);
    await assert.rejects(containers.create(container), { code: "already_exists" });
    await containers.create({ ...container, namespace: "other" });
    assert.deepEqual(await containers.get("default", "c"), made);
    assert.equal((await containers.list()).length, 2);
    const { spec: _, ...listed } = made;
    assert.deepEqual(await containers.list("default"), [listed]);
  });

  it("finds by id, by name, and by the beginning of an id, in this order", async () => {
    await using opened = await temporaryMetadata();
    const { containers } = opened.metadata;
    const make = (id: string, name?: string) =>
      containers.create({
        namespace: "default",
        id,
        image: undefined,
        runtime: "native",
        snapshotter: "overlay",
        snapshotKey: undefined,
        spec: {},
        labels: {},
        ...(name === undefined ? {} : { name }),
      });
    for (const [id, name] of [["ab12", undefined], ["ab34", "web_1"], ["cd56", "ab"], ["ab", "other"]] as const) {
      await make(id, name);
    }
    await assert.rejects(make("new", "web_1"), { code: "already_exists", message: /this name \("web_1"\)/ });
    const find = async (reference: string) => (await containers.find("default", reference)).map(({ id }) => id).sort();
    assert.deepEqual(await find("ab"), ["ab"]);
    assert.deepEqual(await find("web_1"), ["ab34"]);
    assert.deepEqual(await find("web%"), []);
    assert.deepEqual(await find("ab1"), ["ab12"]);
    assert.deepEqual(await find("a"), ["ab", "ab12", "ab34"]);
    assert.deepEqual(await containers.find("other", "ab"), []);
  });

  it("keeps how the last run went, and changes nothing that is not named", async () => {
    await using opened = await temporaryMetadata();
    const { containers } = opened.metadata;
    const made = await containers.create({
      namespace: "default",
      id: "c",
      image: "busybox",
      runtime: "native",
      snapshotter: "overlay",
      snapshotKey: "k",
      spec: { a: 1 },
      labels: { a: "b" },
    });
    const state = { startedAt: new Date(1000), finishedAt: new Date(2000), exitCode: 3, oomKilled: false };
    assert.deepEqual(await containers.update("default", "c", { state }), { ...made, state });
    const changed = await containers.update("default", "c", { labels: {}, spec: { a: 2 } });
    assert.deepEqual(changed, { ...made, state, labels: {}, spec: { a: 2 } });
    assert.deepEqual(await containers.get("default", "c"), changed);
    await assert.rejects(containers.update("default", "nothing", { labels: {} }), { code: "not_found" });
  });
});

describe("LeaseStore", () => {
  it("holds resources until it is deleted", async () => {
    await using opened = await temporaryMetadata();
    const { leases } = opened.metadata;
    const lease = await leases.create("default", new Date(Date.now() + 1000), { by: "pull" });
    await leases.add(lease.id, ["ingest/x", "content/y"]);
    await leases.add(lease.id, ["content/y"]);
    await leases.add(lease.id, []);
    assert.deepEqual(await leases.list(), [{ ...lease, resources: ["content/y", "ingest/x"] }]);
    await leases.delete(lease.id);
    assert.deepEqual(await leases.list(), []);
    await assert.rejects(leases.add(lease.id, ["content/z"]), { code: "not_found" });
  });

  it("takes more resources at once than a statement has values", async () => {
    await using opened = await temporaryMetadata();
    const { leases } = opened.metadata;
    const lease = await leases.create("default", new Date(Date.now() + 1000));
    await leases.add(lease.id, Array.from({ length: 40_000 }, (_, i) => `content/${i}`));
    assert.equal((await leases.list())[0]?.resources.length, 40_000);
  });
});

describe("definitions behind a URL", () => {
  it("are kept there, and what is local is not", async () => {
    await using shared = await temporaryMetadata();
    const url = `file:${shared.root}/definitions.db`;
    await using here = await temporaryMetadata({ url });
    await using there = await temporaryMetadata({ url });
    await here.metadata.images.put({ namespace: "default", name: "x", target: target("1") });
    await here.metadata.snapshots("overlay").create("a", "active");
    assert.equal((await there.metadata.images.get("default", "x"))?.target.digest, digest("1"));
    assert.deepEqual(await there.metadata.snapshots("overlay").list(), []);
  });
});
