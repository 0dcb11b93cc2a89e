import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { checkCommand } from "../../src/tasks/image_command.ts";
import { ImageRoot } from "../../src/tasks/image_root.ts";
import { generateSpec } from "../../src/tasks/spec.ts";

const image = { os: "linux", architecture: "amd64", rootfs: { type: "layers" as const, diff_ids: [] } };

describe("checkCommand()", { skip: process.getuid?.() === 0 ? false : "needs root" }, () => {
  let folder = "";
  let root: ImageRoot;
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  const check = (command: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    checkCommand(
      root,
      generateSpec({ image, id: "x", settings: { command: [...command], env: { ...env }, workdir: "/work" } }),
    );

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-command-"));
    write("usr/bin/tool", "\x7fELF");
    write("usr/bin/script", "#! /bin/tool -x\n");
    write("usr/bin/deep", "#!/usr/bin/script\n");
    write("work/local", "\x7fELF");
    write("usr/bin/evil", "#!/proc/self/exe\n");
    write("usr/bin/eviler", "#!/bin/evil-link\n");
    write("usr/bin/lost", "#!/nowhere/sh\n");
    write("usr/bin/endless", "#!/usr/bin/endless\n");
    symlinkSync("usr/bin", join(folder, "bin"));
    symlinkSync("../../bin/tool", join(folder, "usr/bin/up"));
    symlinkSync("loop", join(folder, "usr/bin/loop"));
    symlinkSync("/proc/self/exe", join(folder, "usr/bin/evil-link"));
    // What the image has at the place of a mount is not what the container sees there.
    write("proc/self/real", "\x7fELF");
    symlinkSync("/usr/bin/tool", join(folder, "proc/self/exe"));
    root = new ImageRoot(new Kernel(await currentHost()), [{ type: "bind", source: folder, options: ["ro"] }]);
  });
  after(() => {
    root[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const fine: readonly (readonly [string, string])[] = [
    ["a path", "/usr/bin/tool"],
    ["a path through linked folders", "/bin/tool"],
    ["a link that climbs", "up"],
    ["a name in PATH", "tool"],
    ["a path from the working folder", "./local"],
    ["a script", "script"],
    ["a script for a script", "deep"],
    ["a script for itself, which the kernel refuses", "endless"],
  ];
  for (const [what, command] of fine) it(`takes ${what}`, () => check([command]));

  it("takes an empty entry of PATH for the working folder", () => check(["local"], { PATH: "/bin::" }));

  const refused: readonly (readonly [string, string, RegExp])[] = [
    ["what is nowhere", "/nowhere", /"\/nowhere": it is not in the image/],
    ["a name that PATH does not have", "local", /"local": it is not in the image/],
    ["a folder", "/usr", /not in the image/],
    ["a file taken for a folder", "/usr/bin/tool/x", /not in the image/],
    ["a loop of links", "loop", /not in the image/],
    ["this process's executable", "/proc/self/exe", /leads into what is mounted/],
    ["a link to it", "evil-link", /leads into what is mounted/],
    ["a way around to it", "/usr/../bin/../../proc/self/exe", /leads into what is mounted/],
    ["a file that a mount covers", "/proc/self/real", /leads into what is mounted/],
    ["a script for this process's executable", "evil", /a script for "\/proc\/self\/exe", which is not in the image/],
    ["a script for a link to it", "eviler", /a script for "\/bin\/evil-link"/],
    ["a script whose interpreter is nowhere", "lost", /a script for "\/nowhere\/sh", which is not in the image/],
  ];
  for (const [what, command, message] of refused) {
    it(`refuses ${what}`, () => assert.throws(() => check([command]), { code: "invalid_argument", message }));
  }

  it("has a shell's exit code for it", () => {
    assert.throws(() => check(["nowhere"]), (error: unknown) => {
      assert.deepEqual((error as { details?: unknown }).details, { field: "command", exitCode: 127 });
      return true;
    });
  });
});
