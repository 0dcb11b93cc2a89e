import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandLine, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { Terminal } from "../support/tmux.ts";
import { until } from "../support/until.ts";

describe("the command line in a terminal", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-tty-"));
  const script = join(folder, "m");
  let daemon: MayflyProcess;
  let terminal: Terminal;

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);
    const imported = await mayfly(["import", ...stateFlags(folder), makeBusyboxImage(folder, "box:1")]);
    assert.equal(imported.code, 0, imported.stderr);
    const quoted = (words: readonly string[]) => words.map((word) => `'${word}'`).join(" ");
    writeFileSync(
      script,
      `#!/bin/sh\ncommand=$1\nshift\nexec ${quoted(await commandLine())} "$command" ${
        quoted(stateFlags(folder))
      } "$@"\n`,
      { mode: 0o755 },
    );
    terminal = new Terminal(basename(folder), { width: 100, height: 30 });
    await terminal.shows(/outer>/);
  });

  after(async () => {
    terminal[Symbol.dispose]();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  const command = (line: string) => {
    terminal.clear();
    terminal.enter(`${script} ${line}; echo "rc=$?"`);
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
  const inside = "exec env PS1='inner> ' sh";

  it("run -it: a prompt, the size and its changes, the exit code", async () => {
    command(`run -it --rm box:1 sh -c "${inside}"`);
    await terminal.shows(/^inner> $/m);
    terminal.enter("stty size");
    await terminal.shows(/^30 100$/m);
    terminal.resize(120, 40);
    await until(async () => {
      terminal.enter("stty size");
      return /^40 120$/m.test(terminal.screen());
    });
    terminal.resize(100, 30);
    terminal.enter("sleep 1000");
    terminal.press("C-c");
    await terminal.shows(/\^C/);
    terminal.enter("exit 7");
    await terminal.shows(/^rc=7$/m);
    await isRestored();
    const { stdout } = await mayfly(["ps", ...stateFlags(folder), "-aq"]);
    assert.equal(stdout, "");
  });

  it("run -it, detach with keys, attach again: the same shell", async () => {
    command(`run -it --name shell box:1 sh -c "${inside}"`);
    await terminal.shows(/^inner> $/m);
    terminal.enter("mine=kept");
    terminal.press("C-p", "C-q");
    await terminal.shows(/mayfly attach shell[^]*rc=0$/m);
    await isRestored();
    command("attach --detach-keys ctrl-x shell");
    // A shell draws its prompt for a key, not for who attaches.
    terminal.press("Enter");
    await terminal.shows(/^inner> $/m);
    terminal.enter("echo $mine");
    await terminal.shows(/^kept$/m);
    terminal.press("C-x");
    await terminal.shows(/^rc=0$/m);
    command("attach shell");
    terminal.press("Enter");
    await terminal.shows(/^inner> $/m);
    terminal.enter("exit 9");
    await terminal.shows(/^rc=9$/m);
    await isRestored();
  });

  describe("exec -it", () => {
    before(async () => {
      const ran = await mayfly(["run", ...stateFlags(folder), "-d", "--name", "web", "box:1", "sleep", "100000"]);
      assert.equal(ran.code, 0, ran.stderr);
    });
    after(async () => {
      await mayfly(["rm", ...stateFlags(folder), "-f", "web"]);
    });

    it("a prompt, the size, an interrupt, the exit code", async () => {
      command(`exec -it web sh -c "${inside}"`);
      await terminal.shows(/^inner> $/m);
      terminal.enter("stty size; sleep 1000");
      await terminal.shows(/^30 100$/m);
      terminal.press("C-c");
      await terminal.shows(/\^C/);
      terminal.enter("exit 5");
      await terminal.shows(/^rc=5$/m);
      await isRestored();
    });

    it("a killed command leaves the terminal as it was", async () => {
      command(`exec -it web sh -c "${inside}"`);
      await terminal.shows(/^inner> $/m);
      process.kill(
        Number(execFileSync("pgrep", ["-f", `exec --root ${join(folder, "root")}`], { encoding: "utf8" })),
        "SIGTERM",
      );
      await terminal.shows(/rc=143$/m);
      await isRestored();
    });
  });
});
