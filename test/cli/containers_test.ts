import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { type Finished, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

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

  it("-v, --mount and --tmpfs bring files of the machine and memory in, for what lives on and for what does not", async () => {
    mkdirSync(join(folder, "site/sub"), { recursive: true });
    writeFileSync(join(folder, "site/page"), "page\n");
    const site = join(folder, "site");
    const script = "cat /www/page; touch /www/x 2>&1; grep -o ' /mem .*' /proc/mounts; echo new > /out/file; cat /one";
    const flags = [
      ...["-v", `${site}:/www:ro`, "--mount", `type=bind,source=${site}/sub,target=/out`],
      ...["--tmpfs", "/mem:size=1m,mode=0700", "-v", `${site}/page:/one`],
    ];
    const wanted = /^page\ntouch: \/www\/x: Read-only file system\n \/mem tmpfs .*size=1024k,mode=700.*\npage\n$/;
    assert.match(await out("run", ...flags, "box:1", "sh", "-c", script), wanted);
    assert.equal(readFileSync(join(site, "sub/file"), "utf8"), "new\n");
    rmSync(join(site, "sub/file"));
    assert.match(await out("run", "--rm", "--name", "mounted", ...flags, "box:1", "sh", "-c", script), wanted);
    assert.equal(readFileSync(join(site, "sub/file"), "utf8"), "new\n");
    await out("deploy", "mounted", "--image", "box:1", "-v", `${site}/page:/one:ro`, "--", "cat", "/one");
    assert.equal(await out("invoke", "mounted"), "page\n");
    await out("rm", "mounted");
  });

  it("--mount type=tmpfs has the size and mode that are said", async () => {
    const memory = "type=tmpfs,target=/mem,size=64k,mode=700";
    const script = "stat -c %a /mem; dd if=/dev/zero of=/mem/x bs=4k count=17 2>&1 | head -n 1; stat -c %s /mem/x";
    for (const kept of [[], ["--rm", "--name", "memory"]]) {
      const ran = await out("run", ...kept, "--mount", memory, "box:1", "sh", "-c", script);
      assert.match(ran, /^700\n.*No space left on device\n65536\n$/);
    }
  });

  it("mounts that hide what every container has, or come from nowhere, are refused by name", async () => {
    const refused: readonly [flags: readonly string[], text: RegExp][] = [
      [["-v", "/none/such:/x"], /"\/none\/such": it is not there: make it first/],
      [["-v", "/etc:/proc/x"], /mounts.*not \/, \/dev, or at or below \/proc and \/sys/],
      [["-v", "/etc:/"], /not \/, \/dev/],
      [["-v", "/etc:/a/../proc"], /without "\.\."/],
      [["-v", "/etc:relative"], /an absolute path/],
      [["-v", "data:/x"], /there are no named volumes/],
      [["-v", "/etc:/x", "--tmpfs", "/x/"], /different targets/],
      [["--mount", "type=bind,source=/etc,target=/x,fly=1"], /nothing called "fly"/],
      [["--mount", "type=tmpfs,target=/x,size=64q"], /--mount is "64q", wanted a size as 64m/],
      [["--mount", "type=tmpfs,target=/x,size=1k"], /--mount is .*wanted a size of 4096 bytes or more/],
      [["--mount", "type=tmpfs,target=/x,size=9000t"], /mounts.*sizeBytes/],
      [["--mount", "type=tmpfs,target=/x,mode=rw"], /--mount is .*wanted a mode in octal/],
      [["--mount", "type=tmpfs,target=/x,source=/etc"], /wanted no source/],
      [["--mount", "type=bind,source=/etc,target=/x,size=1m"], /nothing called "size"/],
      [["--tmpfs", "/x:size=0"], /--tmpfs is .*wanted a size of 4096 bytes or more/],
      [["--mount", "type=volume,target=/x"], /type=bind, type=tmpfs or type=image/],
    ];
    for (const [flags, text] of refused) {
      const ran = await run("", "run", ...flags, "box:1", "true");
      assert.notEqual(ran.code, 0);
      assert.match(ran.stderr, text);
    }
  });

  it("with --rm it is gone when it has ended, however that came", async () => {
    const gone = () => until(async () => await out("ps", "-aq") === "");
    await out("run", "-d", "--rm", "--name", "short", "box:1", "true");
    await gone();
    await out("run", "-d", "--rm", "--name", "long", "box:1", "sleep", "1000");
    assert.notEqual((await run("", "run", "-d", "--rm", "box:1", "nowhere")).code, 0);
    await out("kill", "long");
    await gone();
    await out("run", "-d", "--rm", "box:1", "sleep", "1000");
    await daemon.end("SIGKILL");
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);
    assert.equal(await out("ps", "-aq"), "");
    assert.doesNotMatch(await out("snapshots"), /container/);
  });

  it("says what to do about a wrong call", async () => {
    assert.match((await run("", "run", "-it", "box:1", "sh")).stderr, /wants a terminal/);
    assert.match((await run("", "run", "-d", "--timeout", "1s", "box:1")).stderr, /--timeout/);
    assert.equal((await run("", "logs", "nobody")).code, 66);
  });
});
