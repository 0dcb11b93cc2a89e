import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec, SpecMount } from "../../src/core/spec.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, nativeRuntime, specFor } from "./native_runtime.ts";

let count = 0;

describe("mounts of the native runtime", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  let folder: string;
  let data: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-mounts-"));
    makeBusyboxRoot(join(folder, "root"));
    mkdirSync(join(folder, "root/full/below"), { recursive: true });
    writeFileSync(join(folder, "root/full/below/file"), "of the image\n");
    data = join(folder, "data");
    mkdirSync(data);
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), `/mayfly-mounts-${process.pid}`);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function output(script: string, mounts: readonly SpecMount[], changes: Partial<Spec["linux"]> = {}) {
    const base = specFor(["sh", "-c", script]);
    const spec = { ...base, mounts: [...base.mounts ?? [], ...mounts], linux: { ...base.linux, ...changes } };
    const task = await runtime.create({ id: `m${count++}`, spec, rootfs });
    try {
      await task.start();
      const [stdout, stderr] = await Promise.all(
        [task.stdout, task.stderr].map((stream) => new Response(stream).text()),
      );
      assert.equal((await task.wait()).code, 0, stderr);
      return stdout?.trim() ?? "";
    } finally {
      await task.delete();
    }
  }

  /** The options of the last mount at a place, and its fields of propagation. */
  const optionsOf = async (mount: SpecMount) => {
    const lines = (await output("cat /proc/self/mountinfo", [mount])).split("\n").filter((line) =>
      line.split(" ")[4] === mount.destination
    );
    return lines.at(-1)?.split(" ") ?? [];
  };

  const bind = (...options: string[]): SpecMount => ({
    destination: "/m",
    source: data,
    options: ["bind", ...options],
  });
  const tmpfs = (...options: string[]): SpecMount => ({ destination: "/m", type: "tmpfs", source: "tmpfs", options });

  const flags: readonly (readonly [option: string, shown: string, absent?: string])[] = [
    ["ro", "ro"],
    ["rro", "ro"],
    ["nosuid", "nosuid"],
    ["rnosuid", "nosuid"],
    ["nodev", "nodev"],
    ["noexec", "noexec"],
    ["rnoexec", "noexec"],
    ["nosymfollow", "nosymfollow"],
    ["noatime", "noatime"],
    ["rnoatime", "noatime"],
    ["nodiratime", "nodiratime"],
    ["relatime", "relatime"],
    ["strictatime", "", "relatime"],
    ["rstrictatime", "", "relatime"],
  ];
  for (const [option, shown, absent] of flags) {
    for (const [kind, mount] of [["a bind", bind], ["a tmpfs", tmpfs]] as const) {
      it(`${option} of ${kind}`, async () => {
        const options = (await optionsOf(mount(option)))[5]?.split(",") ?? [];
        if (shown !== "") assert.ok(options.includes(shown), options.join());
        if (absent !== undefined) assert.ok(!options.includes(absent), options.join());
      });
    }
  }

  it("a later option takes an earlier one back", async () => {
    for (const mount of [bind, tmpfs]) {
      const [, , , , , options] = await optionsOf(mount("ro", "noexec", "nosymfollow", "rw", "exec", "symfollow"));
      assert.match(options ?? "", /^rw,/);
      assert.doesNotMatch(options ?? "", /noexec|nosymfollow/);
    }
  });

  const propagations: readonly (readonly [option: string, field: RegExp])[] = [
    ["private", /^$/],
    ["rprivate", /^$/],
    ["shared", /^shared:\d+$/],
    ["rshared", /^shared:\d+$/],
    ["unbindable", /^unbindable$/],
    ["runbindable", /^unbindable$/],
  ];
  for (const [option, field] of propagations) {
    for (const [kind, mount] of [["a bind", bind], ["a tmpfs", tmpfs]] as const) {
      it(`${option} of ${kind}`, async () => {
        const fields = (await optionsOf(mount(option))).slice(6);
        assert.match(fields.slice(0, fields.indexOf("-")).join(" "), field);
      });
    }
  }

  it("rootfsPropagation", async () => {
    const script =
      "while read a b c d point f rest; do [ $point = / ] && echo $rest; done < /proc/self/mountinfo; true";
    assert.match(await output(script, [], { rootfsPropagation: "shared" }), /^shared:/);
    assert.match(await output(script, [], { rootfsPropagation: "private" }), /^- /);
    assert.match(await output(script, [], { rootfsPropagation: "unbindable" }), /^unbindable - /);
  });

  it("rbind takes what is below along, bind does not; rro makes all of it read-only", async () => {
    const source = "/proc/sys/fs";
    const below = async (...options: string[]) =>
      await output("grep -c ' /m/binfmt_misc ' /proc/self/mounts; true", [{ destination: "/m", source, options }]);
    assert.equal(await below("bind"), "0");
    const inner = { destination: "/m", source: "/dev", options: ["rbind", "rro"] };
    const lines = await output("grep ' /m' /proc/self/mounts", [inner]);
    for (const line of lines.split("\n")) assert.match(line.split(" ")[3] ?? "", /^ro,/);
    assert.ok(lines.split("\n").length > 1, lines);
  });

  it("tmpcopyup begins with what the image has there", async () => {
    const copy: SpecMount = {
      destination: "/full",
      type: "tmpfs",
      source: "tmpfs",
      options: ["tmpcopyup", "mode=755"],
    };
    const script = "cat /full/below/file; echo x > /full/below/new; rm /full/below/file; ls /full/below";
    assert.equal(await output(script, [copy]), "of the image\nnew");
    await assert.rejects(output("true", [bind("tmpcopyup")]), (error) => codeOf(error) === "invalid_argument");
  });

  it("remount changes the mount that is there", async () => {
    const remount: SpecMount = { destination: "/m", options: ["remount", "bind", "ro", "noexec"] };
    assert.match((await optionsOf(bind("rw")))[5] ?? "", /^rw/);
    const lines = await output("grep ' /m ' /proc/self/mounts", [bind("rw"), remount]);
    assert.match(lines, / ro,noexec/);
  });

  it("any filesystem by its type", async () => {
    const mounts: SpecMount[] = [
      { destination: "/a", type: "ramfs", source: "ramfs" },
      { destination: "/b", type: "overlay", source: "overlay", options: ["lowerdir=/full:/etc"] },
      { destination: "/c", type: "proc", source: "proc", options: ["hidepid=2"] },
    ];
    assert.equal(
      await output("cat /b/below/file; ls /b/passwd; grep -c ramfs /proc/self/mounts", mounts),
      "of the image\n/b/passwd\n1",
    );
  });

  for (const word of ["loop", "move"]) {
    it(`refuses ${word} by name`, async () => {
      await assert.rejects(output("true", [tmpfs(word)]), (error) => {
        assert.equal(codeOf(error), "unimplemented");
        assert.ok(String(error).includes(word));
        return true;
      });
    });
  }
});
