import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import type { Mount } from "../../src/core/mount.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { ImageRoot } from "../../src/tasks/image_root.ts";
import { openFiles } from "../support/descriptors.ts";

const overlay = (...layers: string[]): Mount[] => [{
  type: "overlay",
  source: "overlay",
  options: ["ro", `lowerdir=${layers.map((layer) => layer.replace(/[\\:,]/g, "\\$&")).join(":")}`],
}];
const bind = (source: string): Mount[] => [{ type: "bind", source, options: ["rbind", "ro"] }];

describe("ImageRoot", { skip: process.getuid?.() === 0 ? false : "needs root" }, () => {
  let folder = "";
  let kernel: Kernel;
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  const read = (mounts: Mount[], path: string, limit = 1000) => {
    using root = new ImageRoot(kernel, mounts);
    return root.readText(path, limit);
  };

  before(async () => {
    kernel = new Kernel(await currentHost());
    folder = mkdtempSync(join(tmpdir(), "mayfly-image-"));
    write("low/etc/passwd", "low");
    write("low/etc/group", "group of low");
    write("low/etc/gone", "gone");
    write("low/real/file", "through a link of another layer");
    write("up,per:1/etc/passwd", "upper");
    symlinkSync("/real/file", join(folder, "up,per:1/etc/link"));
    symlinkSync("../../../../../../../etc/hostname", join(folder, "up,per:1/etc/out"));
    symlinkSync("/proc/self/root/etc/hostname", join(folder, "up,per:1/etc/magic"));
    symlinkSync("loop", join(folder, "up,per:1/etc/loop"));
    execFileSync("mknod", [join(folder, "up,per:1/etc/gone"), "c", "0", "0"]);
    execFileSync("mkfifo", [join(folder, "up,per:1/etc/fifo")]);
    write("up,per:1/etc/large", "x".repeat(1001));
    write("up,per:1/etc/split", `${"x".repeat(65535)}é`);
  });
  after(() => rmSync(folder, { recursive: true }));

  const layers = () => overlay(join(folder, "up,per:1"), join(folder, "low"));

  it("reads through the layers of an overlay", () => {
    assert.equal(read(layers(), "etc/passwd"), "upper");
    assert.equal(read(layers(), "etc/group"), "group of low");
    assert.equal(read(layers(), "etc/link"), "through a link of another layer");
    assert.equal(read(layers(), "etc/split", 100_000), `${"x".repeat(65535)}é`);
  });

  it("reads a bound folder, and an overlay of one layer", () => {
    for (const mounts of [bind(join(folder, "low")), overlay(join(folder, "low"))]) {
      assert.equal(read(mounts, "etc/passwd"), "low");
    }
  });

  it("reads no file of /proc, where what it looks into has one", () => {
    for (const path of ["proc/version", "proc/kmsg"]) assert.equal(read(bind("/"), path), undefined, path);
  });

  it("finds nothing where nothing is, or no regular file", () => {
    for (const path of ["etc/none", "etc/gone", "etc/passwd/x", "etc/fifo", "etc", "etc/loop"]) {
      assert.equal(read(layers(), path), undefined, path);
    }
  });

  it("does not leave the root", () => {
    for (const path of ["etc/out", "etc/magic", "../../../../../../../etc/hostname"]) {
      for (const mounts of [layers(), bind(join(folder, "up,per:1"))]) {
        assert.equal(read(mounts, path), undefined, path);
      }
    }
  });

  it("refuses a file over the limit", () => {
    assert.throws(() => read(layers(), "etc/large"), (error) => codeOf(error) === "resource_exhausted");
    assert.equal(read(layers(), "etc/large", 1001)?.length, 1001);
  });

  it("mounts many layers", () => {
    const many = Array.from({ length: 60 }, (_, i) => `many/with-a-long-name-for-each-layer-${i}`);
    for (const [i, layer] of many.entries()) write(`${layer}/file-${i}`, String(i));
    const mounts = overlay(...many.map((layer) => join(folder, layer)));
    assert.equal(read(mounts, "file-59"), "59");
  });

  it("leaves no mount and no descriptor", () => {
    const before = openFiles();
    read(layers(), "etc/passwd");
    read(layers(), "etc/fifo");
    assert.throws(() => read(layers(), "etc/large"));
    assert.deepEqual(openFiles(), before);
    const mounts = readFileSync("/proc/self/mounts", "utf8");
    assert.ok(!mounts.includes(folder), mounts);
  });

  it("refuses mounts of another form", () => {
    assert.throws(
      () => new ImageRoot(kernel, [{ type: "erofs", source: "/x", options: [] }]),
      (error) => codeOf(error) === "unimplemented",
    );
    assert.throws(() => new ImageRoot(kernel, []), (error) => codeOf(error) === "unimplemented");
    assert.throws(() => new ImageRoot(kernel, bind("/nowhere")), (error) => codeOf(error) === "not_found");
  });
});
