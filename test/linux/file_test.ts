import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { kernelRead, kernelWrite, kernelWriteAll, writeFile } from "../../src/linux/file.ts";
import { lockFile } from "../../src/linux/flock.ts";
import { Kernel } from "../../src/linux/kernel.ts";

const kernel = new Kernel(await currentHost());
const folder = mkdtempSync(join(tmpdir(), "mayfly-file-"));
after(() => rmSync(folder, { recursive: true }));
const descriptors = () => readdirSync("/proc/self/fd").length;
const [one, two] = [join(folder, "one"), join(folder, "two")];

describe("small files", () => {
  it("kernelWrite() and kernelRead() go together", () => {
    writeFileSync(one, "");
    kernelWrite(kernel, one, "grüße\n");
    assert.equal(readFileSync(one, "utf8"), "grüße\n");
    assert.equal(kernelRead(kernel, one), "grüße\n");
    assert.equal(kernelRead(kernel, one, 2), "gr");
  });

  it("kernelWriteAll() tries all and names the first that failed", () => {
    writeFileSync(one, "");
    writeFileSync(two, "");
    const before = descriptors();
    kernelWriteAll(kernel, []);
    kernelWriteAll(kernel, [[one, "1"], [two, new Uint8Array([50])]]);
    assert.equal(kernelRead(kernel, one) + kernelRead(kernel, two), "12");
    const missing = join(folder, "missing");
    assert.throws(() => kernelWriteAll(kernel, [[one, "3"], [missing, "4"], ["/dev/full", "5"], [two, "6"]]), {
      code: "not_found",
      message: `write ${JSON.stringify(missing)}: no such file or directory`,
    });
    assert.equal(kernelRead(kernel, one) + kernelRead(kernel, two), "36");
    assert.throws(() => kernelWrite(kernel, "/dev/full", "5"), {
      code: "resource_exhausted",
      message: 'write "/dev/full": no space left on device',
      syscall: "write",
    });
    assert.throws(() => kernelRead(kernel, folder), { errno: "EISDIR", syscall: "read" });
    assert.equal(descriptors(), before);
  });

  it("writeFile() is steps of a program", () => {
    writeFileSync(one, "");
    kernel.run([...writeFile(one, "a"), ...writeFile(one, "b"), ...writeFile(two, "c")]);
    assert.equal(kernelRead(kernel, one) + kernelRead(kernel, two), "bc");
    assert.throws(() => kernel.run(writeFile("/no/such", "", "limit memory")), {
      message: "limit memory: no such file or directory",
    });
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
