/** What a machine has on its disk when its power fails: every layer that is committed, whole. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mountImage } from "../../snapshotters/erofs/layer_mounts.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { tarOf } from "../images/tar_bytes.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { World } from "../support/world.ts";

const count = 200;

describe("a machine whose power fails behind a deployment", () => {
  let folder = "";
  const mounted: string[] = [];

  /** A filesystem in a file, which writes to it late by itself. */
  function mount(image: string, name: string): string {
    const path = join(folder, name);
    mkdirSync(path);
    execFileSync("mount", ["-o", "loop,commit=300", image, path]);
    mounted.push(path);
    return path;
  }

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-power-"));
  });
  after(() => {
    for (const path of mounted.reverse()) execFileSync("umount", ["-l", path]);
    rmSync(folder, { recursive: true, force: true });
  });

  for (const snapshotter of ["overlay", "erofs", "native"]) {
    it(`has every file of a committed layer (${snapshotter})`, async () => {
      const disk = join(folder, `${snapshotter}.img`);
      const cut = join(folder, `${snapshotter}-cut.img`);
      execFileSync("truncate", ["-s", "96M", disk]);
      execFileSync("mkfs.ext4", ["-q", "-F", disk]);
      const root = mount(disk, `${snapshotter}-disk`);
      const contents = Array.from({ length: count }, (_, i) => randomBytes(1000 + 37 * i));
      const layer = tarOf(...contents.map((content, i) => ({ path: `file-${i}`, content })));
      const made = new LayoutFolder(join(folder, `layout-${snapshotter}`));
      const layout = made.name({ "many:1": made.image([layer]) });
      {
        await using world = await World.open({ root: join(root, "root") });
        await world.admin("POST", "/v1/images/import", { path: layout, name: "many:1" });
        await world.ask("PUT", "/v1/functions/many", { image: "many:1", command: ["/file-0"], snapshotter });
        // The file is what the disk has: the filesystem's own memory is not in it.
        execFileSync("cp", ["--sparse=always", disk, cut]);
      }
      const after = mount(cut, `${snapshotter}-cut`);
      const metadata = await openMetadata({ root: join(after, "root") });
      try {
        const committed = (await metadata.snapshots(snapshotter).list()).filter(({ kind }) => kind === "committed");
        const digests = (path: (i: number) => string) => contents.map((_, i) => digest(readFileSync(path(i))));
        assert.equal(committed.length, 1);
        const snapshot = join(after, "root/snapshots", snapshotter, String(committed[0]?.id));
        let files = join(snapshot, "fs");
        if (snapshotter === "erofs") {
          files = join(folder, "layer");
          mkdirSync(files);
          mountImage(new Kernel(await currentHost()), join(snapshot, "image"), files);
          mounted.push(files);
        }
        assert.deepEqual(digests((i) => join(files, `file-${i}`)), contents.map(digest));
      } finally {
        await metadata.close();
      }
    });
  }
});

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
