import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { cgroupsOf, removeCgroups, specFor } from "../runtimes/native_runtime.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { sameHost } from "../support/same_host.ts";
import { Terminal } from "../support/tmux.ts";
import { until } from "../support/until.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const cgroupParent = `/mayfly-test-${process.pid}-oci-tty`;
const interactive = ["sh", "-c", "exec env PS1='inner> ' sh"];

describe("mayfly oci in a terminal", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-oci-tty-"));
  const program = join(folder, "oci");
  let terminal: Terminal;

  before(async () => {
    const words = [...await sameHost(main), "oci", "--root", join(folder, "state")].map((word) => `'${word}'`);
    const cache = `NODE_COMPILE_CACHE='${join(folder, "compiled")}'`;
    writeFileSync(program, `#!/bin/sh\n${cache} exec ${words.join(" ")} "$@"\n`, { mode: 0o755 });
    terminal = new Terminal(basename(folder), { width: 100, height: 30 });
    await terminal.shows(/outer>/);
  });

  after(() => {
    terminal[Symbol.dispose]();
    assert.deepEqual(cgroupsOf(cgroupParent), []);
    assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(folder));
    removeCgroups(cgroupParent);
    rmSync(folder, { recursive: true });
  });

  /** A bundle whose process has a terminal. */
  function bundle(name: string, args: readonly string[], hasTerminal = true): string {
    const path = join(folder, name);
    makeBusyboxRoot(join(path, "rootfs"));
    const { process: base, linux, ...spec } = specFor(args);
    writeFileSync(
      join(path, "config.json"),
      JSON.stringify({
        ...spec,
        root: { path: "rootfs" },
        process: { ...base, terminal: hasTerminal },
        linux: { ...linux, cgroupsPath: `${cgroupParent}/${name}` },
      }),
    );
    return path;
  }

  const oci = (input: string, ...args: readonly string[]) => spawnSync(program, args, { encoding: "utf8", input });
  const command = (line: string) => {
    terminal.clear();
    terminal.enter(`${program} ${line}; echo "rc=$?"`);
  };
  /** That lines are edited and keys are signals again, as before. */
  const isRestored = async () => {
    terminal.clear();
    terminal.enter("stty -a");
    const modes = await terminal.shows(/echoke|outer> $/m);
    for (const mode of ["icanon", "isig", "echo", "icrnl", "opost"]) {
      assert.match(modes, new RegExp(`(?<!-)\\b${mode}\\b`), mode);
    }
  };
  const isUsable = async () => {
    await terminal.shows(/^inner> $/m);
    terminal.enter("stty size");
    await terminal.shows(/^30 100$/m);
    terminal.resize(120, 40);
    await until(() => {
      terminal.enter("stty size");
      return /^40 120$/m.test(terminal.screen());
    });
    terminal.resize(100, 30);
    // A key that comes before the command does is text.
    terminal.enter("echo begun; sleep 1000");
    await terminal.shows(/^begun$/m);
    terminal.press("C-c");
    await terminal.shows(/\^C/);
    terminal.enter("exit 7");
    await terminal.shows(/^rc=7$/m);
    await isRestored();
  };

  it("run: a prompt, the size and its changes, an interrupt, the exit code", async () => {
    command(`run --bundle ${bundle("a", interactive)} a`);
    await isUsable();
    assert.equal(oci("", "list", "-q").stdout, "");
  });

  it("exec -t: the same", async () => {
    const ran = spawnSync(program, ["run", "-d", "--bundle", bundle("b", ["sleep", "1000"], false), "b"], {
      stdio: "ignore",
    });
    assert.equal(ran.status, 0);
    command(`exec -t b ${interactive.slice(0, 2).join(" ")} "${interactive[2]}"`);
    await isUsable();
    const [first = "", ...rest] = interactive;
    assert.match(oci("", "exec", "-t", "-d", "b", first, ...rest).stderr, /--console-socket is missing/);
    assert.equal(oci("", "delete", "--force", "b").status, 0);
  });

  it("run takes its input from a pipe and loses none of the output", () => {
    const lines = 20000;
    const path = bundle("c", ["sh", "-c", `read line; echo "<$line>"; seq ${lines}; exit 3`]);
    const { status, stdout } = oci("words\n", "run", "--bundle", path, "c");
    assert.equal(status, 3);
    assert.ok(stdout.includes("<words>\r\n1\r\n2\r\n"), stdout.slice(0, 100));
    assert.ok(stdout.endsWith(`\r\n${lines}\r\n`), stdout.slice(-100));
  });

  it("run into a pipe loses none of the output, and ends where nobody reads it any more", () => {
    const path = bundle("g", ["sh", "-c", "seq 20000"]);
    const shell = (line: string) => spawnSync("sh", ["-c", line], { encoding: "utf8", timeout: 60_000 }).stdout;
    const run = `${program} run --bundle ${path} g </dev/null`;
    assert.equal(shell(`${run} | tail -n 1`).trim(), "20000");
    assert.equal(shell(`${run} | head -n 1`).trim(), "1");
    assert.equal(oci("", "list", "-q").stdout, "");
  });

  it("is left as it was by a command whose container is killed", async () => {
    command(`run --bundle ${bundle("d", interactive)} d`);
    await terminal.shows(/^inner> $/m);
    assert.equal(oci("", "kill", "d", "KILL").status, 0);
    await terminal.shows(/rc=137$/m);
    await isRestored();
  });

  it("keeps no reader of the terminal when it is killed itself", async () => {
    command(`run --bundle ${bundle("e", interactive)} e`);
    await terminal.shows(/^inner> $/m);
    const pids = execFileSync("pgrep", ["-f", `oci --root ${join(folder, "state")} run`], { encoding: "utf8" });
    process.kill(Number(pids.trim().split("\n").at(-1)), "SIGKILL");
    await terminal.shows(/rc=137$/m);
    terminal.type("stty sane; echo back");
    // Nobody has put the terminal back: it still is raw.
    terminal.press("C-j");
    await terminal.shows(/(?:^|> )back *$/m);
    assert.equal(oci("", "delete", "--force", "e").status, 0);
  });

  it("is no terminal to give away: create and run -d want a socket", () => {
    const path = bundle("f", ["true"]);
    for (const words of [["create"], ["run", "-d"]]) {
      const { status, stderr } = oci("", ...words, "--bundle", path, "f");
      assert.equal(status, 1);
      assert.match(stderr, /--console-socket is missing/);
    }
    assert.equal(oci("", "list", "-q").stdout, "");
  });
});
