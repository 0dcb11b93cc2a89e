import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

describe("places for invocations", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-places-"));
  const seen = join(folder, "seen");
  let daemon: MayflyProcess;
  const run = (command: string, ...args: readonly string[]) =>
    mayfly([command, ...stateFlags(folder), ...args], { input: "" });
  /** Deploys what goes on until it may end. */
  const deploy = (name: string, ...flags: readonly string[]) => {
    const script = "until [ -e /seen/go ]; do sleep 0.05; done";
    return run("deploy", name, "--image", "box:1", "-v", `${seen}:/seen`, ...flags, "--", "sh", "-c", script);
  };
  const start = async () => {
    const flags = ["--log-level", "warn", "--max-concurrency", "3", "--namespace-concurrency", '{"team":1}'];
    daemon = await MayflyProcess.start(folder, flags);
  };
  const running = async (namespace = "default"): Promise<number> => {
    const answer = await daemon.admin("GET", `/v1/invocations?namespace=${namespace}`);
    const { items } = await answer.json() as { items: { status: string }[] };
    return items.filter(({ status }) => status === "running").length;
  };
  const begun: Promise<Response>[] = [];
  const call = (path: string) => fetch(`${daemon.url}/fn/${path}`, { method: "POST" });
  const begin = async (path: string) => {
    const [, namespace] = path.split(".");
    const before = await running(namespace);
    begun.push(call(path));
    await until(async () => await running(namespace) === before + 1);
  };
  const end = async () => {
    writeFileSync(join(seen, "go"), "");
    for (const answer of await Promise.all(begun.splice(0))) assert.equal(answer.status, 200, await answer.text());
    rmSync(join(seen, "go"));
  };
  const refusal = async (path: string) => {
    const answer = await call(path);
    assert.equal(answer.status, 429);
    assert.equal(answer.headers.get("retry-after"), "1");
    return (await answer.json() as { detail: string }).detail;
  };

  before(async () => {
    mkdirSync(seen, { mode: 0o777 });
    await start();
    const layout = makeBusyboxImage(folder, "box:1");
    for (const namespace of ["default", "team"]) await run("import", layout, "-n", namespace);
    for (const [name, ...flags] of [["a"], ["vip", "--reserved-concurrency", "2"], ["a", "-n", "team"]]) {
      const { code, stderr } = await deploy(name ?? "", ...flags);
      assert.equal(code, 0, stderr);
    }
    assert.equal((await run("deploy", "quick", "--image", "box:1", "--", "true")).code, 0);
  });
  after(async () => {
    await end();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are kept for a function that reserves some, behind a restart too", async () => {
    await begin("a");
    assert.match(await refusal("a"), /1 invocations run already.*without the 2 that it keeps/);
    await begin("vip");
    await begin("vip");
    assert.match(await refusal("vip"), /maxConcurrency/);
    await end();
    await daemon.end("SIGKILL");
    await start();
    await begin("a");
    // They are known a moment after the daemon listens.
    await until(async () => (await call("quick")).status === 429);
    await end();
  });

  it("are no more than a function may reserve, and go with the revision that has the traffic", async () => {
    const { stderr } = await deploy("more", "--reserved-concurrency", "1");
    assert.match(stderr, /cannot keep 1 places.*2 are kept for others, maxConcurrency is 3/);
    assert.equal((await daemon.admin("GET", "/v1/functions/more")).status, 404);
    for (const [name, ...flags] of [["vip"], ["more", "--reserved-concurrency", "1"]]) {
      const { code, stderr } = await deploy(name ?? "", ...flags);
      assert.equal(code, 0, stderr);
    }
    const rollback = await run("rollback", "vip");
    assert.match(rollback.stderr, /cannot keep 2 places/);
    for (const [command, name] of [["rm", "more"], ["rollback", "vip"]] as const) {
      const { code, stderr } = await run(command, name);
      assert.equal(code, 0, stderr);
    }
    await begin("a");
    assert.match(await refusal("a"), /without the 2/);
    await end();
  });

  it("are as many in a namespace as it may have", async () => {
    await begin("a.team");
    assert.match(await refusal("a.team"), /1 invocations of its namespace run already/);
    await end();
  });
});
