/** A root folder whose disk is full: what fails says so, leaves nothing, and the daemon goes on. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { openMetadata } from "../../src/metadata/mod.ts";
import { tarOf } from "../images/tar_bytes.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { leftovers } from "../support/leftovers.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { startRegistry } from "../support/registry.ts";

const diskMiB = 24;
/** More than there are inodes. */
const maxFiles = 4000;

/** What a disk is: where it is full, each says so at another moment. */
const disks: Readonly<Record<string, (root: string, folder: string) => void>> = {
  tmpfs(root) {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${diskMiB}m,nr_inodes=${maxFiles}`, "tmpfs", root]);
  },
  // It takes what is written, and finds the room for it later.
  ext4(root, folder) {
    const image = join(folder, "disk");
    writeFileSync(image, "");
    truncateSync(image, diskMiB << 20);
    execFileSync("mkfs.ext4", ["-q", "-m", "0", "-O", "^has_journal", "-N", String(maxFiles), image]);
    // The loop device is the mount's own: it goes with it.
    execFileSync("mount", ["-o", "loop", image, root]);
  },
};

for (const [filesystem, mount] of Object.entries(disks)) {
  describe(`a daemon on a disk of ${filesystem} that is full`, () => {
    let folder = "";
    let root = "";
    let box = "";
    let daemon: MayflyProcess;

    before(async () => {
      folder = mkdtempSync(join(tmpdir(), "mayfly-full-"));
      root = join(folder, "root");
      mkdirSync(root);
      mount(root, folder);
      box = makeBusyboxImage(folder, "box:1");
      daemon = await MayflyProcess.start(folder);
      const imported = await daemon.admin("POST", "/v1/images/import", { path: box });
      assert.equal(imported.status, 201, await imported.text());
      const deployed = await daemon.admin("PUT", "/v1/functions/echo", { image: "box:1", command: ["/bin/cat"] });
      assert.equal(deployed.status, 201, await deployed.text());
    });

    after(async () => {
      await daemon?.[Symbol.asyncDispose]();
      // Lazily: the driver closes its files when it comes to it.
      execFileSync("umount", ["-l", root]);
      rmSync(folder, { recursive: true, force: true });
    });

    /** What is refused for want of room leaves things as they were, and the daemon at work. */
    async function refused(method: string, path: string, body: unknown, text: RegExp): Promise<void> {
      const before = leftovers(folder).filter((line) => !line.startsWith("cgroup "));
      const answer = await daemon.admin(method, path, body);
      const { code, detail } = await answer.json() as { code: string; detail: string };
      assert.equal(code, "resource_exhausted", detail);
      assert.match(detail, text);
      assert.deepEqual(leftovers(folder).filter((line) => !line.startsWith("cgroup ")), before);
      const echo = await fetch(`${daemon.url}/fn/echo`, { method: "POST", body: "still" });
      assert.equal(await echo.text(), "still");
      const imported = await daemon.admin("POST", "/v1/images/import", { path: box });
      assert.equal(imported.status, 201, await imported.text());
    }

    function layout(name: string, layer: Uint8Array): string {
      const made = new LayoutFolder(join(folder, `layout-${name}`));
      return made.name({ [`${name}:1`]: made.image([layer]) });
    }

    it("refuses an import, and is rid of its bytes", async () => {
      const path = layout("stored", tarOf({ path: "large", content: randomBytes(2 * diskMiB << 20) }));
      await refused("POST", "/v1/images/import", { path }, /the disk is full: .*remove images/);
    });

    it("refuses a deployment that pulls, and is rid of what came", async () => {
      const path = layout("pulled", tarOf({ path: "large", content: randomBytes(2 * diskMiB << 20) }));
      await using registry = await startRegistry();
      await registry.push(`oci:${path}:pulled:1`, "t/pulled:1");
      const body = { image: `${registry.host}/t/pulled:1`, command: ["/x"] };
      await refused("PUT", "/v1/functions/pulled", body, /the disk is full: .*remove images/);
    });

    it("refuses to unpack, and is rid of the files", async () => {
      const path = layout("packed", tarOf({ path: "large", content: new Uint8Array(2 * diskMiB << 20) }));
      const imported = await daemon.admin("POST", "/v1/images/import", { path });
      assert.equal(imported.status, 201, await imported.text());
      for (const snapshotter of ["overlay", "native"]) {
        const body = { image: "packed:1", command: ["/x"], snapshotter };
        await refused("PUT", "/v1/functions/large", body, /cannot unpack layer sha256:\S+: .*space|the disk is full/);
      }
    });

    it("refuses to pull what has more files than there is room for, and is rid of them", async () => {
      const files = Array.from({ length: maxFiles }, (_, number) => ({ path: `f${number}` }));
      const path = layout("many", tarOf(...files));
      await using registry = await startRegistry();
      await registry.push(`oci:${path}:many:1`, "t/many:1");
      const body = { image: `${registry.host}/t/many:1`, command: ["/x"], snapshotter: "overlay" };
      await refused("PUT", "/v1/functions/many", body, /cannot unpack layer sha256:\S+: .*space|the disk is full/);
    });

    it("pulls what is smaller behind that, and runs it", async () => {
      await using registry = await startRegistry();
      await registry.push(`oci:${box}:box:1`, "t/box:1");
      const body = { image: `${registry.host}/t/box:1`, command: ["/bin/tr", "a-z", "A-Z"] };
      const deployed = await daemon.admin("PUT", "/v1/functions/upper", body);
      assert.equal(deployed.status, 201, await deployed.text());
      const answer = await fetch(`${daemon.url}/fn/upper`, { method: "POST", body: "smaller" });
      assert.equal(await answer.text(), "SMALLER");
    });

    it("keeps no lease and nothing half unpacked", async () => {
      assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
      const metadata = await openMetadata({ root });
      try {
        assert.deepEqual(await metadata.leases.list(), []);
        for (const id of ["overlay", "native"]) {
          const half = (await metadata.snapshots(id).list()).filter(({ kind }) => kind !== "committed");
          assert.deepEqual(half, []);
        }
      } finally {
        await metadata.close();
      }
    });
  });
}
