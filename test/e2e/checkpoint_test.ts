import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { workingCriu } from "../support/criu.ts";
import { cgroupParent, commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";

/** It is warm when it has said so; then it answers what it is asked for with what it found before. */
const program = `echo found > /var-of-image; secret=$(head -c 300000 /dev/zero | md5sum); echo warm >&2
while read line; do echo "$line: $secret $(cat /var-of-image)"; done`;

/** It serves HTTP when it is warm, and answers what it has found before. */
const server = `export found=$(head -c 300000 /dev/zero | md5sum | cut -c1-32); printf '%s' '#!/bin/sh
while read -r line; do case "$line" in ?) break; esac; done
printf "HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: 32\\r\\n\\r\\n%s" "$found"' > /answer
chmod 755 /answer; exec nc -ll -p 9000 -e /answer`;

const plugins = (folder: string) => [
  "--plugins",
  JSON.stringify({
    "runtime/native": { criu: workingCriu(), cgroupParent: cgroupParent(folder) },
    "runtime/runc": { criu: workingCriu() },
  }),
];

describe("a checkpoint", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-checkpoint-"));
  let daemon: MayflyProcess;
  let registry: TestRegistry;
  let expected: string;
  const { run, out } = commandsOn(folder);
  const refused = async (what: RegExp, command: string, ...args: readonly string[]) => {
    const { code, stderr } = await run(command, ...args);
    assert.notEqual(code, 0);
    assert.match(stderr, what);
  };
  const start = async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn", ...plugins(folder)]);
  };
  const invoke = async (name: string, body: string) =>
    (await fetch(`${daemon.url}/fn/${name}`, { method: "POST", body })).text();
  const unpacked = () => readdirSync(join(folder, "root/checkpoints")).length;

  before(async () => {
    registry = await startRegistry();
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
    await out("run", "-d", "-i", "--name", "warm", "box:1", "sh", "-c", program);
    for (let logs = ""; !logs.includes("warm");) logs = (await run("logs", "warm")).stderr;
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    await registry[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("is an image, of what the container wrote and of what it has in memory", async () => {
    await out("checkpoint", "--leave-running", "warm", "box:warm");
    assert.match(await out("ps"), /warm +docker.io\/library\/box:1 +running/);
    assert.equal(unpacked(), 0);
    // An ordinary one, too.
    assert.equal(await out("run", "box:warm", "cat", "/var-of-image"), "found\n");
  });

  it("is what a function goes on from", async () => {
    await out("deploy", "app", "--image", "box:warm", "--restore");
    expected = await invoke("app", "one\n");
    assert.match(expected, /^one: [0-9a-f]{32} +- found\n$/);
    const answers = await Promise.all(["two", "three"].map((text) => invoke("app", `${text}\n`)));
    assert.deepEqual(answers, ["two", "three"].map((text) => expected.replace("one", text)));
    assert.equal(unpacked(), 1);
  });

  it("is what a container goes on from, whose next start is an ordinary one", async () => {
    await out("run", "-d", "-i", "--name", "again", "--restore", "box:warm");
    await out("exec", "again", "sh", "-c", "echo hello > /proc/1/fd/0");
    for (let logs = ""; !logs.includes("hello");) logs = await out("logs", "again");
    assert.equal(await out("logs", "again"), expected.replace("one", "hello"));
    await out("stop", "-t", "0", "again");
    await out("start", "again");
    for (let logs = ""; !logs.includes("warm");) logs = (await run("logs", "again")).stderr;
    await out("rm", "-f", "again");
  });

  it("is runc's, too", async () => {
    await out("run", "-d", "-i", "--runtime", "runc", "--name", "other", "box:1", "sh", "-c", program);
    for (let logs = ""; !logs.includes("warm");) logs = (await run("logs", "other")).stderr;
    await out("checkpoint", "--leave-running", "other", "box:other");
    await out("rm", "-f", "other");
    await out("deploy", "by-runc", "--image", "box:other", "--function-runtime", "runc", "--restore");
    assert.equal(await invoke("by-runc", "one\n"), expected);
    await out("rm", "by-runc");
  });

  it("is what a function that serves HTTP goes on from, where it listened", async () => {
    await out("run", "-d", "--name", "serving", "box:1", "sh", "-c", server);
    await out("exec", "serving", "sh", "-c", "until grep -q ':2328 .* 0A ' /proc/net/tcp*; do :; done");
    await out("checkpoint", "serving", "box:serving");
    await out("rm", "serving");
    const flags = ["--image", "box:serving", "--restore"];
    await out("deploy", "web", ...flags, "--protocol", "http", "--port", "9000");
    for (const start of ["cold", "warm"]) {
      const answer = await fetch(`${daemon.url}/fn/web`);
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      assert.match(text, /^[0-9a-f]{32}$/);
      assert.equal(answer.headers.get("x-mayfly-start"), start);
    }
    await out("rm", "web");
    await refused(/are told nothing at their start/, "deploy", "web", ...flags, "--protocol", "lambda");
  });

  it("ends the container where it is not to go on", async () => {
    await out("checkpoint", "warm", "box:last");
    assert.match(await out("ps", "-a"), /warm +docker.io\/library\/box:1 +exited \(137\)/);
    await refused(/cannot checkpoint container .*exited/s, "checkpoint", "warm", "box:more");
    await out("rm", "warm");
    await out("rmi", "box:last");
    await out("gc");
  });

  it("is still there behind a crash of the daemon, which leaves nothing unpacked", async () => {
    await daemon.end("SIGKILL");
    assert.equal(unpacked(), 1);
    await start();
    assert.equal(await invoke("app", "four\n"), expected.replace("one", "four"));
  });

  it("goes to a registry and comes back whole, and is restored where that is trusted alone", async () => {
    const name = `${registry.host}/box:warm`;
    await out("push", "box:warm", name);
    await out("pull", "--all-platforms", name);
    await refused(/not written by this daemon/, "deploy", "foreign", "--image", name, "--restore");
    await refused(/not written by this daemon/, "run", "--restore", name);
    await refused(/it holds no checkpoint|not written by/, "run", "--restore", "box:1");
    await refused(/"crun" cannot go on/, "run", "--restore", "--runtime", "crun", "box:warm");
  });

  it("is gone on from by another daemon, which trusts the registry", async () => {
    const other = mkdtempSync(join(tmpdir(), "mayfly-checkpoint-other-"));
    const elsewhere = await MayflyProcess.start(other, [
      "--log-level",
      "warn",
      "--foreign-checkpoints",
      ...plugins(other),
    ]);
    try {
      const name = `${registry.host}/box:warm`;
      const { out } = commandsOn(other);
      await out("pull", "--all-platforms", name);
      await out("deploy", "app", "--image", name, "--restore");
      const answer = await fetch(`${elsewhere.url}/fn/app`, { method: "POST", body: "five\n" });
      assert.equal(await answer.text(), expected.replace("one", "five"));
    } finally {
      assert.equal(await elsewhere.end("SIGTERM"), 0, elsewhere.log());
      rmSync(other, { recursive: true, force: true });
    }
  });
});
