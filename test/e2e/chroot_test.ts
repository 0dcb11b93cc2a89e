/** A daemon in a plain chroot, where / is no mount point. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { stateFlags } from "../support/mayfly_process.ts";
import { sameHost } from "../support/same_host.ts";

/** Enters a folder that has everything of this machine's root in it, by mounts that nobody else sees. */
const enter = `
  root=$1; shift
  mount --make-rprivate /
  for entry in /* ; do
    name=$root$entry
    if [ -L "$entry" ]; then cp -P "$entry" "$name"
    elif [ -d "$entry" ]; then mkdir "$name" && mount --rbind "$entry" "$name"
    fi
  done
  exec chroot "$root" "$@"
`;

describe("a launch in a plain chroot", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-chroot-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("fails and says how to make the chroot one that will do", async () => {
    const layout = makeBusyboxImage(folder, "box:1");
    const [program, ...first] = await sameHost(fileURLToPath(new URL("../../src/main.ts", import.meta.url)));
    const mayfly = (name: string, ...args: string[]) => [program, ...first, name, ...stateFlags(folder), ...args];
    const [importer = "", ...importArgs] = mayfly("import", layout);
    execFileSync(importer, importArgs, { stdio: "pipe" });
    const root = mkdtempSync(join(folder, "root-"));
    const command = ["-m", "sh", "-c", enter, "sh", root, ...mayfly("run", "box:1", "true")];
    const { status, stderr } = spawnSync("unshare", command, { encoding: "utf8" });
    assert.match(stderr, /the daemon's \/ is no mount point, as in a chroot: mount --rbind/);
    assert.equal(status, 78, stderr);
  });
});
