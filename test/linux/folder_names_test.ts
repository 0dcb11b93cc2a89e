import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { folderNames } from "../../src/linux/folder_names.ts";
import { Kernel } from "../../src/linux/kernel.ts";

const kernel = new Kernel(await currentHost());

describe("folderNames()", () => {
  it("gives every name once, in several parts where they are many", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-names-"));
    try {
      assert.deepEqual((await Array.fromAsync(folderNames(kernel, folder))).flat(), []);
      const names = Array.from({ length: 2000 }, (_, index) => `${index}-${"é".repeat(20)}`);
      for (const name of names) writeFileSync(join(folder, name), "");
      mkdirSync(join(folder, "folder"));
      const parts = await Array.fromAsync(folderNames(kernel, folder));
      assert.ok(parts.length > 1);
      assert.deepEqual(parts.flat().sort(), [...names, "folder"].sort());
      for await (const _ of folderNames(kernel, folder)) break;
    } finally {
      rmSync(folder, { recursive: true });
    }
    await assert.rejects(Array.fromAsync(folderNames(kernel, folder)), { code: "not_found" });
  });
});
