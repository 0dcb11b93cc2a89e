import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { kernelRead } from "../../src/linux/kernel_read.ts";
import { lockFile } from "../../src/linux/flock.ts";
import { Kernel } from "../../src/linux/kernel.ts";

const kernel = new Kernel(await currentHost());
const folder = mkdtempSync(join(tmpdir(), "mayfly-file-"));
after(() => rmSync(folder, { recursive: true }));
const descriptors = () => readdirSync("/proc/self/fd").length;

describe("kernelRead()", () => {
  it("reads up to the limit, and keeps nothing open", () => {
    writeFileSync(join(folder, "one"), "grüße\n");
    const before = descriptors();
    assert.equal(kernelRead(kernel, join(folder, "one")), "grüße\n");
    assert.equal(kernelRead(kernel, join(folder, "one"), 2), "gr");
    assert.throws(() => kernelRead(kernel, folder), { errno: "EISDIR", syscall: "read" });
    assert.throws(() => kernelRead(kernel, join(folder, "missing")), { code: "not_found" });
    assert.equal(descriptors(), before);
  });
});

describe("lockFile()", () => {
  const path = join(folder, "lock");

  it("locks once, and again when the first is gone", () => {
    const before = descriptors();
    for (let round = 0; round < 2; round++) {
      using lock = lockFile(kernel, path);
      assert.equal(lock.path, path);
      assert.equal(readFileSync(path, "utf8"), `${kernel.host.pid}\n`);
      assert.throws(() => lockFile(kernel, path), {
        code: "failed_precondition",
        message: `cannot lock ${JSON.stringify(path)}: process ${kernel.host.pid} holds it`,
        details: { path, pid: kernel.host.pid },
      });
    }
    assert.equal(descriptors(), before);
  });

  it("fails where the file cannot be", () => {
    assert.throws(() => lockFile(kernel, join(folder, "no", "such")), { code: "not_found" });
  });
});
