/** A daemon that is killed in the middle of each of its works: nothing half-made stays, and the work can be done again. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { randomBytes } from "node:crypto";
import { openMetadata } from "../../src/metadata/mod.ts";
import { tarOf } from "../images/tar_bytes.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { makeBusyboxImage, makeBusyboxRoot } from "../support/busybox_image.ts";
import { leftovers } from "../support/leftovers.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { type SlowRegistry, slowRegistry } from "../support/slow_registry.ts";

const manyFiles = 6000;

describe("a daemon that is killed in the middle", () => {
  let folder = "";
  let registry: TestRegistry;
  let slow: SlowRegistry;
  let layouts = 0;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-stages-"));
    registry = await startRegistry();
    slow = await slowRegistry(registry.host);
    await using daemon = await MayflyProcess.start(folder);
    await done(daemon, "POST", "/v1/images/import", { path: makeBusyboxImage(folder, "box:1") });
    await done(daemon, "PUT", "/v1/functions/echo", { image: "box:1", command: ["/bin/cat"] });
    await daemon.end("SIGTERM");
  });

  after(async () => {
    await slow[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** An image of busybox and a layer of its own. @returns the layout's path. */
  function layout(name: string, layer: Uint8Array): string {
    const root = join(folder, "base");
    if (!existsSync(root)) makeBusyboxRoot(root);
    const made = new LayoutFolder(join(folder, `layout-${layouts++}`));
    const base = execFileSync("tar", ["-C", root, "--numeric-owner", "-c", "."], { maxBuffer: 1 << 26 });
    // The third one is stored as it is, without compression.
    return made.name({ [name]: made.image([base, tarOf({ path: name }), layer]) });
  }

  /**
   * Begins something, kills the daemon when it is in the middle of it, starts another one, and looks for what is left.
   * @param inTheMiddle tells when to kill.
   * @returns the next daemon.
   */
  async function kill(begin: (daemon: MayflyProcess) => Promise<unknown>, inTheMiddle: () => boolean) {
    const first = await MayflyProcess.start(folder);
    try {
      const begun = begin(first).then((answer) => ({ answer }), () => ({ answer: "cut" }));
      const ended = begun.then(() => {
        throw new Error("it ended before it could be killed");
      });
      await Promise.race([until(inTheMiddle), ended]);
      ended.catch(() => {});
      await first.end("SIGKILL");
      assert.deepEqual(await begun, { answer: "cut" });
    } finally {
      await first.end("SIGKILL");
    }
    return await MayflyProcess.start(folder);
  }

  /** Ends a daemon; then nothing is there but what is committed. */
  async function nothingLeft(daemon: MayflyProcess): Promise<void> {
    assert.equal(await (await fetch(`${daemon.url}/fn/echo`, { method: "POST", body: "still" })).text(), "still");
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    const metadata = await openMetadata({ root: join(folder, "root") });
    try {
      const rows = await Promise.all(["overlay", "erofs", "native"].map(async (id) => {
        const all = await metadata.snapshots(id).list();
        assert.deepEqual(all.filter(({ kind }) => kind !== "committed"), []);
        return all.map((info) => `snapshot ${id}/${info.id}`);
      }));
      assert.deepEqual(await metadata.containers.list(), []);
      assert.deepEqual(await metadata.leases.list(), []);
      assert.deepEqual(leftovers(folder), rows.flat().sort());
    } finally {
      await metadata.close();
    }
  }

  /** The entries of the newest snapshot's folder. */
  function entries(snapshotter: string): number {
    const path = join(folder, "root/snapshots", snapshotter);
    const ids = existsSync(path) ? readdirSync(path).filter((name) => /^\d+$/.test(name)).map(Number) : [];
    const newest = Math.max(0, ...ids);
    const files = join(path, String(newest), "fs/many");
    return existsSync(files) ? readdirSync(files).length : 0;
  }

  /** Bytes of what is on its way into the content store. */
  function ingested(): number {
    const path = join(folder, "root/content/ingest");
    const sizes = readdirSync(path).map((id) => {
      const data = join(path, id, "data");
      return existsSync(data) ? statSync(data).size : 0;
    });
    return Math.max(0, ...sizes);
  }

  const many = (seed: string) =>
    tarOf(
      { path: "many", type: "5" },
      ...Array.from({ length: manyFiles }, (_, i) => ({ path: `many/${i}`, content: seed })),
    );

  it("of a pull: the next one goes on at the byte that was reached", async () => {
    const path = layout("large:1", tarOf({ path: "large", content: randomBytes(5 << 20) }));
    await registry.push(`oci:${path}:large:1`, "t/large:1");
    slow.limitBytes = (3 << 20) + 1000;
    const pull = async (daemon: MayflyProcess) =>
      await (await daemon.admin("POST", "/v1/images", { reference: `${slow.host}/t/large:1` })).text();
    await using second = await kill(pull, () => ingested() >= 3 << 20);
    slow.limitBytes = Infinity;
    const before = slow.ranges.length;
    assert.match(await pull(second), /"image":/);
    assert.ok(slow.ranges.slice(before).includes(`bytes=${3 << 20}-`), slow.ranges.join(" "));
    await done(second, "PUT", "/v1/functions/large", {
      image: `${slow.host}/t/large:1`,
      command: ["/bin/wc", "-c", "/large"],
    });
    assert.match(await (await fetch(`${second.url}/fn/large`)).text(), /^5242880 /);
    await nothingLeft(second);
  });

  it("of a deployment that pulls: no function is there, and it can be deployed", async () => {
    const path = layout("deployed:1", tarOf({ path: "large", content: randomBytes(5 << 20) }));
    await registry.push(`oci:${path}:deployed:1`, "t/deployed:1");
    slow.limitBytes = (3 << 20) + 1000;
    const deploy = (daemon: MayflyProcess) =>
      daemon.admin("PUT", "/v1/functions/pulled", {
        image: `${slow.host}/t/deployed:1`,
        command: ["/bin/wc", "-c", "/large"],
      });
    await using second = await kill(deploy, () => ingested() >= 3 << 20);
    slow.limitBytes = Infinity;
    assert.equal((await fetch(`${second.url}/fn/pulled`)).status, 404);
    const deployed = await deploy(second);
    assert.equal(deployed.status, 201, await deployed.text());
    assert.match(await (await fetch(`${second.url}/fn/pulled`)).text(), /^5242880 /);
    await nothingLeft(second);
  });

  it("of an import: it can be done again", async () => {
    const path = layout("imported:1", tarOf({ path: "zeros", content: new Uint8Array(100 << 20) }));
    const bringIn = (daemon: MayflyProcess) => daemon.admin("POST", "/v1/images/import", { path });
    await using second = await kill(bringIn, () => ingested() >= 1 << 20);
    const { items } = await (await second.admin("GET", "/v1/images")).json() as { items: { name: string }[] };
    assert.ok(!items.some(({ name }) => name.includes("imported")));
    assert.equal((await bringIn(second)).status, 201);
    await nothingLeft(second);
  });

  it("of a redeployment and its unpacking: the earlier revision serves, and the next one can be deployed", async () => {
    const path = layout("many:1", many("one"));
    const deploy = (daemon: MayflyProcess) =>
      daemon.admin("PUT", "/v1/functions/version", { image: "many:1", command: ["/bin/cat", "/many/1"] });
    let id = "";
    const begin = async (daemon: MayflyProcess) => {
      await done(daemon, "POST", "/v1/images/import", { path });
      await done(daemon, "PUT", "/v1/functions/version", { image: "box:1", command: ["/bin/echo", "zero"] });
      const answer = await fetch(`${daemon.url}/fn/version`);
      const answeredMs = Date.now();
      assert.equal(await answer.text(), "zero\n");
      id = answer.headers.get("x-mayfly-invocation") ?? "";
      // Its record is written behind its answer, and nothing else is. To look for it would lock the daemon out.
      const log = join(folder, "root/mayfly.db-wal");
      await until(() => statSync(log).mtimeMs > answeredMs);
      return await deploy(daemon);
    };
    await using second = await kill(begin, () => entries("overlay") > 100);
    const answer = await fetch(`${second.url}/fn/version`);
    assert.equal(await answer.text(), "zero\n");
    const record = await (await second.admin("GET", `/v1/invocations/${id}`)).json() as { status: string };
    assert.equal(record.status, "succeeded");
    const deployed = await deploy(second);
    const { revision } = await deployed.json() as { revision: number };
    assert.deepEqual([deployed.status, revision], [200, 2]);
    assert.equal(await (await fetch(`${second.url}/fn/version`)).text(), "one");
    await nothingLeft(second);
  });

  it("of native's copy for an invocation: the copy is gone", async () => {
    const path = layout("copied:1", many("two"));
    const invoke = (daemon: MayflyProcess) => fetch(`${daemon.url}/fn/copied`).then((answer) => answer.text());
    const begin = async (daemon: MayflyProcess) => {
      await done(daemon, "POST", "/v1/images/import", { path });
      const settings = { image: "copied:1", snapshotter: "native", command: ["/bin/cat", "/many/1"] };
      await done(daemon, "PUT", "/v1/functions/copied", settings);
      layers = readdirSync(join(folder, "root/snapshots/native")).length;
      return await invoke(daemon);
    };
    let layers = Infinity;
    const copying = () =>
      existsSync(join(folder, "root/snapshots/native")) &&
      readdirSync(join(folder, "root/snapshots/native")).length > layers && entries("native") > 100;
    await using second = await kill(begin, copying);
    assert.equal(await invoke(second), "two");
    await nothingLeft(second);
  });
});

async function done(daemon: MayflyProcess, method: string, path: string, body: unknown): Promise<void> {
  const answer = await daemon.admin(method, path, body);
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
}

async function until(met: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await met())) {
    assert.ok(Date.now() < deadline, "it did not come to pass within 30 s");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
