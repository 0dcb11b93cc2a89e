/** What a daemon does with a root folder that is not as it left it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Database } from "../../src/metadata/database.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { leftovers } from "../support/leftovers.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";

describe("a daemon on a root folder", () => {
  let folder = "";
  let layout = "";
  let copies = 0;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-root-"));
    layout = makeBusyboxImage(folder, "box:1");
    await using daemon = await MayflyProcess.start(folder);
    await deploy(daemon);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  /** A copy of everything, elsewhere. */
  function copy(): string {
    const to = join(folder, `copy-${copies++}`);
    mkdirSync(to);
    execFileSync("cp", ["-a", join(folder, "root"), to]);
    return to;
  }

  async function deploy(daemon: MayflyProcess): Promise<void> {
    const imported = await daemon.admin("POST", "/v1/images/import", { path: layout });
    assert.equal(imported.status, 201, await imported.text());
    const deployed = await daemon.admin("PUT", "/v1/functions/echo", { image: "box:1", command: ["/bin/cat"] });
    assert.ok(deployed.ok, await deployed.text());
  }

  async function echoes(daemon: MayflyProcess): Promise<void> {
    const answer = await fetch(`${daemon.url}/fn/echo`, { method: "POST", body: "hello" });
    assert.equal(await answer.text(), "hello");
  }

  /** Where it cannot start, it says why, and changes nothing. */
  async function refuses(at: string, exit: number, text: RegExp): Promise<void> {
    const before = files(at);
    const { code, stderr } = await mayfly(["serve", ...stateFlags(at), "--listen", "off"]);
    assert.equal(code, exit, stderr);
    assert.match(stderr, text);
    assert.deepEqual(files(at), before);
  }

  it("that was copied elsewhere serves as before", async () => {
    const at = copy();
    await using daemon = await MayflyProcess.start(at);
    await echoes(daemon);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    assert.deepEqual(leftovers(at), ["snapshot overlay/1"]);
  });

  it("of a newer program is refused", async () => {
    const at = copy();
    const database = await Database.file(join(at, "root/mayfly.db"), "FULL");
    await database.apply([{ sql: "UPDATE meta SET value = ? WHERE key = 'schema_version'", args: ["999"] }]);
    await database[Symbol.asyncDispose]();
    await refuses(
      at,
      78,
      /its schema has version 999, this program knows \d+: use the program that wrote it, or a newer/,
    );
  });

  it("whose database is damaged is refused", async () => {
    for (const [offset, text] of [[0, /the file is no database: stop/], [4096, /the file is damaged: stop/]] as const) {
      const at = copy();
      const file = openSync(join(at, "root/mayfly.db"), "r+");
      writeSync(file, new Uint8Array(16384).fill(0xff), 0, 16384, offset);
      closeSync(file);
      await refuses(at, 65, text);
    }
  });

  it("whose database of definitions is away starts, says so, and refuses what needs it", async () => {
    await using daemon = await MayflyProcess.start(copy(), ["--database", "http://127.0.0.1:1"]);
    assert.match(daemon.log(), /the database of definitions is away: .*"code":"unavailable"/);
    for (const path of ["/v1/functions", "/v1/images"]) {
      const answer = await daemon.admin("GET", path);
      assert.deepEqual([answer.status, (await answer.json() as { code: string }).code], [503, "unavailable"]);
    }
    assert.equal((await fetch(`${daemon.url}/fn/echo`)).status, 503);
    assert.equal((await daemon.admin("GET", "/v1/tasks")).status, 200);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
  });

  it("whose database is gone removes nothing, and says how to go on", async () => {
    const at = copy();
    for (const name of readdirSync(join(at, "root"))) {
      if (name.startsWith("mayfly.db")) rmSync(join(at, "root", name));
    }
    const before = files(at);
    {
      await using daemon = await MayflyProcess.start(at);
      const { items } = await (await daemon.admin("GET", "/v1/functions")).json() as { items: unknown[] };
      assert.deepEqual(items, []);
      assert.deepEqual(files(at), before);
      // Deletions collect garbage, where that is allowed.
      await daemon.admin("POST", "/v1/images/import", { path: layout });
      await daemon.admin("DELETE", "/v1/images?name=box:1");
      assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
      assert.deepEqual(files(at), before);
      assert.equal(daemon.log().split('"message":"cannot collect garbage"').length - 1, 1, daemon.log());
      const [, warning = ""] = /"message":"(nothing is cleaned up: (?:\\.|[^"\\])*)"/.exec(daemon.log()) ?? [];
      const [, id = "", file = ""] = /write its id, and start again: echo (\S+) > (\S+)$/.exec(warning) ?? [];
      assert.equal(file, join(at, "root/id"), daemon.log());
      writeFileSync(file, `${id}\n`);
    }
    await using daemon = await MayflyProcess.start(at);
    assert.doesNotMatch(daemon.log(), /nothing is cleaned up/);
    await deploy(daemon);
    await echoes(daemon);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
  });
});

/** Content and snapshots of a root. */
function files(at: string): readonly string[] {
  const paths = ["content/blobs", "snapshots"].map((name) => join(at, "root", name));
  return execFileSync("find", paths, { encoding: "utf8" }).split("\n").sort();
}
