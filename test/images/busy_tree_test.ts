import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { copyOut } from "../../src/images/copy_out.ts";
import { diffFolder } from "../../src/images/diff.ts";
import { layerArchive } from "../../src/images/layer_archive.ts";
import { TarReader } from "../../src/images/tar_reader.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { openFiles } from "../support/descriptors.ts";

/** Turns names into files, folders, links and fifos, and lets files grow and shrink, without end. */
const busy = `
import os, random, shutil, sys
os.chdir(sys.argv[1]); print("on", flush=True)
while True:
    name = "/".join(random.choice("abc") for _ in range(random.randint(1, 3)))
    try:
        match random.randint(0, 5):
            case 0: os.makedirs(name, exist_ok=True)
            case 1: open(name, "w").write("x" * random.randint(0, 200000))
            case 2: os.truncate(name, random.randint(0, 300000))
            case 3: shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.remove(name)
            case 4: os.symlink("../../../../../../etc", name)
            case 5: os.mkfifo(name)
    except OSError: pass
`;

describe("a tree that is changed under the reading", () => {
  it("gives whole archives, and leads nowhere else", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-busy-"));
    const [path, parent] = [join(folder, "tree"), join(folder, "parent")];
    mkdirSync(path);
    mkdirSync(parent);
    const kernel = new Kernel(await currentHost());
    const child = spawn("python3", ["-c", busy, path], { stdio: ["ignore", "pipe", "inherit"] });
    const root = kernel.call("openat", AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
    try {
      await once(child.stdout, "data");
      const before = openFiles();
      for (let round = 0; round < 20; round++) {
        for (const whole of [true, false]) {
          const snapshot = { path, whole, below: [parent] };
          await diffFolder(kernel, snapshot);
          for (const archive of [layerArchive(kernel, snapshot), await copyOut(kernel, root, "/")]) {
            const reader = new TarReader();
            for await (const chunk of archive) {
              reader.feed(chunk);
              for (let event = reader.next(); event !== undefined; event = reader.next()) {
                if (event.kind === "entry") assert.match(event.entry.path, /^\.?(?:\/?[abc])*\/?$/);
              }
            }
            reader.end();
          }
        }
      }
      assert.deepEqual(openFiles(), before);
    } finally {
      kernel.attempt("close", root);
      child.kill("SIGKILL");
      await once(child, "exit");
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
