/** A root folder whose disk is full: what fails says so, leaves nothing, and the daemon goes on. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
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

describe("a daemon on a disk that is full", () => {
  let folder = "";
  let root = "";
  let box = "";
  let daemon: MayflyProcess;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-full-"));
    root = join(folder, "root");
    mkdirSync(root);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${diskMiB}m`, "tmpfs", root]);
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
