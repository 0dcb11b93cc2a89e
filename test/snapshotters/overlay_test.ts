import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { overlay } from "../../snapshotters/overlay/mod.ts";
import { snapshotterContract } from "../contract/snapshotter.ts";
import { opener } from "./open.ts";

snapshotterContract("overlay", opener(overlay));

describe("overlay", () => {
  for (const volatile of [true, false]) {
    it(`waits for the disk where it is told to (volatile: ${volatile})`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "mayfly-overlay-"));
      {
        await using opened = await opener(overlay, undefined, { volatile }).open(folder);
        const { snapshotter } = opened;
        await snapshotter.prepare("a");
        await snapshotter.commit("base", "a");
        const [mount] = await snapshotter.prepare("b", "base");
        assert.equal(mount?.options.includes("volatile"), volatile);
      }
      rmSync(folder, { recursive: true });
    });
  }
});
