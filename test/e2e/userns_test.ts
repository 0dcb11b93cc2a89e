import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { idRangeSize } from "../../src/core/id_range.ts";
import { defaultIdRanges } from "../../src/metadata/id_ranges.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

describe("containers with users of their own", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-userns-"));
  const { first } = defaultIdRanges;
  let daemon: MayflyProcess;
  const { run, out } = commandsOn(folder);
  const invoke = async (name: string) => (await fetch(`${daemon.url}/fn/${name}`, { method: "POST" })).text();
  const start = async () => daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);

  before(async () => {
    await start();
    const layout = makeBusyboxImage(folder, "box:1");
    for (const namespace of ["default", "other"]) await out("import", "-n", namespace, layout);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  const script = "id -u; cat /proc/self/uid_map; stat -c %u /bin/sh; touch /new; stat -c %u /new";
  const answer = (at: number) => new RegExp(`^0\n +0 +${at} +${idRangeSize}\n0\n0\n$`);

  it("are root inside and nobody outside, each namespace as others", async () => {
    await out("deploy", "who", "--image", "box:1", "--userns", "auto", "--", "sh", "-c", script);
    await out("deploy", "-n", "other", "who", "--image", "box:1", "--userns", "auto", "--", "sh", "-c", script);
    assert.match(await invoke("who"), answer(first));
    assert.match(await invoke("who.other"), answer(first + idRangeSize));
    assert.match(await out("run", "--userns", "auto", "box:1", "sh", "-c", script), answer(first));
  });

  it("keep what they write as an image has it", async () => {
    const kept = "touch /f; chown 5:6 /f; sleep 1000";
    await out("run", "-d", "--name", "kept", "--userns", "auto", "box:1", "sh", "-c", kept);
    const [{ pid }] = JSON.parse(await out("inspect", "kept"));
    assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), new RegExp(`^Uid:\\s+${first}\\s`, "m"));
    assert.equal(await out("exec", "kept", "sh", "-c", "id -u; stat -c %u:%g /f"), "0\n5:6\n");
    const archived = async () => {
      await out("cp", "kept:/f", join(folder, "copy"));
      return await out("commit", "kept", "kept:1");
    };
    await archived();
    assert.equal(await out("run", "kept:1", "stat", "-c", "%u:%g", "/f"), "5:6\n");
    assert.match((await run("cp", join(folder, "copy"), "kept:/g")).stderr, /stop it, or pipe the archive/);
    await out("stop", "-t", "0", "kept");
    await out("cp", join(folder, "copy"), "kept:/g");
    await out("start", "kept");
    assert.equal(await out("exec", "kept", "stat", "-c", "%u:%g", "/f"), "5:6\n");
    assert.equal(await out("exec", "kept", "stat", "-c", "%u", "/g"), "0\n");
    await out("rm", "-f", "kept");
  });

  it("cannot use what belongs to the host's root, though they are root", async () => {
    mkdirSync(join(folder, "secret"), { mode: 0o755 });
    writeFileSync(join(folder, "secret/key"), "secret");
    chmodSync(join(folder, "secret/key"), 0o600);
    const attack = "cat /s/key; touch /s/new; chmod 777 /s/key; mknod /s/sda b 8 0; id -u";
    const { stdout, stderr } = await run(
      ...["run", "--userns", "auto", "-v", `${folder}/secret:/s`] as const,
      ...["box:1", "sh", "-c", attack],
    );
    assert.equal(stdout, "0\n");
    for (
      const what of ["can't open '/s/key'", "/s/new: Permission denied", "/s/key: Operation not permitted", "/s/sda"]
    ) {
      assert.ok(stderr.includes(what), stderr);
    }
  });

  it("what cannot be is refused by name", async () => {
    const refused: readonly [flags: readonly string[], text: RegExp][] = [
      [["--network", "host"], /users of its own on the machine's network/],
      [["--runtime", "crun"], /runtime "crun" cannot map the ids of its image/],
      [["-u", "70000"], /cannot run as 70000: .* those below 65536/],
      [["--userns", "private"], /userns/],
    ];
    for (const [flags, text] of refused) {
      const { code, stderr } = await run("run", "--userns", "auto", ...flags, "box:1", "true");
      assert.notEqual(code, 0);
      assert.match(stderr, text);
    }
  });

  it("stay who they are over a kill", async () => {
    await out("run", "-d", "-n", "other", "--name", "runs", "--userns", "auto", "box:1", "sleep", "1000");
    await daemon.end("SIGKILL");
    await start();
    assert.match(await invoke("who.other"), answer(first + idRangeSize));
    assert.match(await invoke("who"), answer(first));
  });
});
