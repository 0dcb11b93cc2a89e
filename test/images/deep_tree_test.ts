import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { copyOut } from "../../src/images/copy_out.ts";
import { diffFolder } from "../../src/images/diff.ts";
import { maxDepth } from "../../src/images/entry_path.ts";
import { layerArchive } from "../../src/images/layer_archive.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { removeTree } from "../../src/linux/remove_tree.ts";
import { openFiles } from "../support/descriptors.ts";

const make = `
import os, sys
os.chdir(sys.argv[1])
for _ in range(int(sys.argv[2])): os.mkdir("d"); os.chdir("d")
`;

describe("a tree that a container has made as deep as it could", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-deep-"));
  const parent = join(folder, "parent");
  let kernel: Kernel;
  const tree = (depth: number) => {
    const path = join(folder, `${depth}`);
    mkdirSync(path);
    execFileSync("python3", ["-c", make, path, `${depth}`]);
    return { path, whole: true, below: [parent] };
  };
  const copied = async (path: string) => {
    const root = kernel.call("openat", AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
    try {
      return await drain(await copyOut(kernel, root, "/"));
    } finally {
      kernel.attempt("close", root);
    }
  };

  before(async () => {
    kernel = new Kernel(await currentHost());
    mkdirSync(parent);
  });
  after(() => removeTree(kernel, folder));

  it("is read as deep as an image can be", async () => {
    const snapshot = tree(maxDepth);
    assert.equal((await diffFolder(kernel, snapshot)).length, maxDepth);
    assert.ok(await drain(layerArchive(kernel, snapshot)) > maxDepth * 512);
    assert.ok(await copied(snapshot.path) > maxDepth * 512);
  });

  it("is refused where it is deeper, with every descriptor closed", async () => {
    const snapshot = tree(5000);
    const before = openFiles();
    const works = [
      () => diffFolder(kernel, snapshot),
      () => drain(layerArchive(kernel, snapshot)),
      () => copied(snapshot.path),
    ];
    for (const work of works) await assert.rejects(work, (error) => codeOf(error) === "resource_exhausted");
    assert.deepEqual(openFiles(), before);
  });
});

/** @returns how many bytes came. */
async function drain(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const chunk of stream) bytes += chunk.length;
  return bytes;
}
