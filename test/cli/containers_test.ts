import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { type Finished, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";

describe("containers on the command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-containers-"));
  let daemon: MayflyProcess;
  const run = (input: string, command: string, ...args: readonly string[]): Promise<Finished> =>
    mayfly([command, ...stateFlags(folder), ...args], { input });
  const out = async (command: string, ...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run("", command, ...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);
    await out("import", makeBusyboxImage(folder, "box:1"));
    const script = "trap 'exit 3' TERM; echo x > /f; echo out; while :; do sleep 0.05; done";
    await out("run", "-d", "--name", "web", "--label", "a=b", "box:1", "sh", "-c", script);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("exec carries the streams and the exit code", async () => {
    const ran = await run("in", "exec", "-i", "web", "sh", "-c", "cat; echo err >&2; exit 7");
    assert.deepEqual([ran.code, ran.stdout, ran.stderr], [7, "in", "err\n"]);
    assert.equal((await run("", "exec", "web", "nowhere")).code, 127);
  });

  it("cp copies files and folders both ways", async () => {
    mkdirSync(join(folder, "d/e"), { recursive: true });
    writeFileSync(join(folder, "d/e/g"), "y");
    await out("cp", join(folder, "d"), "web:/new");
    assert.equal(await out("exec", "web", "cat", "/new/e/g"), "y");
    await out("cp", "web:/new", join(folder, "back"));
    assert.equal(readFileSync(join(folder, "back/e/g"), "utf8"), "y");
    await out("cp", join(folder, "d/e/g"), "web:/tmp/");
    assert.equal(await out("exec", "web", "cat", "/tmp/g"), "y");
    await out("cp", "web:/tmp/g", join(folder, "file"));
    assert.equal(readFileSync(join(folder, "file"), "utf8"), "y");
    assert.equal((await run("", "cp", "web:/none", folder)).code, 66);
  });

  it("is shown, stopped, waited for, started and removed", async () => {
    assert.equal(await out("logs", "web"), "out\n");
    assert.match(await out("diff", "web"), /^A \/f$/m);
    const [shown] = JSON.parse(await out("inspect", "web"));
    assert.deepEqual([shown.name, shown.status, shown.labels], ["web", "running", { a: "b" }]);
    assert.equal((await run("", "rm", "web")).code, 78);
    await out("stop", "web");
    assert.equal(await out("wait", "web"), "3\n");
    assert.match(await out("ps", "-a"), /exited \(3\)/);
    await out("start", "web");
    await out("rm", "-f", "web");
    assert.equal(await out("ps", "-aq"), "");
  });

  it("says what to do about a wrong call", async () => {
    assert.match((await run("", "run", "-it", "box:1", "sh")).stderr, /wants a terminal/);
    assert.match((await run("", "run", "-d", "--timeout", "1s", "box:1")).stderr, /--timeout/);
    assert.equal((await run("", "logs", "nobody")).code, 66);
  });
});
