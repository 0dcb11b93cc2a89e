import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const module = fileURLToPath(new URL("../support/journal_queue.ts", import.meta.url));
const count = 30;

describe("asynchronous calls in a queue that is a plugin from a module", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-queue-"));
  const seen = join(folder, "seen");
  let daemon: MayflyProcess;

  const start = async (queue: string) => {
    const flags = ["--plugin-modules", module, "--queue", queue, "--call-concurrency", "4", "--call-retry-ms", "20"];
    daemon = await MayflyProcess.start(folder, flags);
  };
  const calls = async (status: string): Promise<readonly { readonly id: string; readonly attempts: number }[]> => {
    const answer = await daemon.admin("GET", `/v1/calls?limit=1000&status=${status}`);
    return (await answer.json() as { items: { id: string; attempts: number }[] }).items;
  };
  const accept = async (name: string, body: string) => {
    const answer = await fetch(`${daemon.url}/async/fn/${name}`, { method: "POST", body });
    assert.equal(answer.status, 202, await answer.clone().text());
    return (await answer.json() as { id: string }).id;
  };

  before(async () => {
    mkdirSync(seen, { mode: 0o777 });
    await start("journal");
    const image = makeBusyboxImage(folder, "box:1");
    assert.equal((await daemon.admin("POST", "/v1/images/import", { path: image })).status, 201);
    const deploy = async (name: string, script: string) => {
      const mounts = [{ source: seen, target: "/seen", type: "bind" }];
      const input = { image: "box:1", command: ["sh", "-c", script], mounts };
      assert.equal((await daemon.admin("PUT", `/v1/functions/${name}`, input)).status, 201);
    };
    await deploy("wait", "touch /seen/$MAYFLY_INVOCATION_ID; until [ -e /seen/go ]; do sleep 0.05; done; cat");
    await deploy("never", "exit 3");
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("run once each, outlive a crash, and are tried again", async () => {
    const ids: string[] = [];
    for (let i = 0; i < count; i++) ids.push(await accept("wait", String(i)));
    const failing = await accept("never", "");
    await until(() => readdirSync(seen).length === 4);
    await daemon.end("SIGKILL");
    await start("journal");
    await until(() => readdirSync(seen).length === 8);
    // Longer than a message is held by who does not say that it works on it.
    const held = Date.now() + 6000;
    await until(() => Date.now() > held);
    assert.equal(readdirSync(seen).length, 8);
    writeFileSync(join(seen, "go"), "");
    await until(async () => (await calls("succeeded")).length === count);
    for (const [index, id] of ids.entries()) {
      assert.equal(await (await fetch(`${daemon.url}/async/calls/${id}/answer`)).text(), String(index));
    }
    // Those that the crash has interrupted, once more.
    assert.equal(readdirSync(seen).length, count + 4 + 1);
    await until(async () => (await calls("failed")).length === 1);
    assert.deepEqual((await calls("failed")).map(({ id, attempts }) => [id, attempts]), [[failing, 3]]);
    assert.equal((await daemon.admin("POST", `/v1/calls/${failing}/replay`)).status, 200);
    await until(async () => (await calls("failed"))[0]?.attempts === 3);
  });

  it("that are too large for it are refused", async () => {
    await daemon.end("SIGTERM");
    daemon = await MayflyProcess.start(folder, [
      ...["--plugin-modules", module, "--queue", "journal", "--max-call-bytes", "4000000"],
    ]);
    const answer = await fetch(`${daemon.url}/async/fn/wait`, { method: "POST", body: "x".repeat(2_000_000) });
    assert.equal(answer.status, 413);
  });

  it("that wait in another queue than the daemon's are spoken of", async () => {
    rmSync(join(seen, "go"));
    for (let i = 0; i < 20; i++) await accept("wait", "");
    await daemon.end("SIGKILL");
    await start("libsql");
    assert.match(daemon.log(), /calls wait in queue \\?"journal\\?", which is not used: --queue journal runs them/);
    const { items } = await (await daemon.admin("GET", "/v1/plugins")).json() as {
      items: { kind: string; id: string; state: string }[];
    };
    assert.deepEqual(
      items.filter(({ kind }) => kind === "queue").map(({ id, state }) => [id, state]),
      [["libsql", "running"], ["journal", "running"]],
    );
    writeFileSync(join(seen, "go"), "");
  });
});
