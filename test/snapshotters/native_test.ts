import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { native } from "../../snapshotters/native/mod.ts";
import { codeOf } from "../../src/core/errors.ts";
import { snapshotterContract } from "../contract/snapshotter.ts";
import { opener } from "./open.ts";

snapshotterContract("native", opener(native));

describe("native", () => {
  it("prepare() on a disk without room for the copy says so, and leaves nothing", async () => {
    const root = mkdtempSync(join(tmpdir(), "mayfly-native-"));
    mkdirSync(join(root, "snapshots"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", join(root, "snapshots")]);
    try {
      await using opened = await opener(native).open(root);
      const { snapshotter, folder } = opened;
      await snapshotter.prepare("a");
      const { path } = await snapshotter.folder("a");
      for (const name of ["1", "2"]) writeFileSync(join(path, name), new Uint8Array(1_000_000));
      await snapshotter.commit("base", "a");
      const before = readdirSync(folder);
      for (let attempt = 0; attempt < 2; attempt++) {
        await assert.rejects(snapshotter.prepare("b", "base"), (error) => {
          assert.equal(codeOf(error), "resource_exhausted", String(error));
          return true;
        });
        assert.deepEqual(readdirSync(folder), before);
        assert.deepEqual((await snapshotter.walk()).map(({ key }) => key), ["base"]);
      }
    } finally {
      execFileSync("umount", [join(root, "snapshots")]);
      rmSync(root, { recursive: true });
    }
  });
});
