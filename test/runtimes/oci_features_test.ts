import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { ProgramFeatures } from "../../runtimes/oci/features.ts";
import type { OciRuntime } from "../../runtimes/oci/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand } from "../../src/core/task.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, specFor } from "./native_runtime.ts";
import { ociRuntimeOf } from "./oci_runtime.ts";

const range = [{ containerID: 1000, hostID: 2000, size: 1 }];
const mapped = {
  destination: "/m",
  type: "bind",
  source: "/tmp",
  options: ["bind"],
  uidMappings: range,
  gidMappings: range,
};
/** Changes to a spec that ask for something. */
const asking: Readonly<Record<string, (spec: Spec) => Spec>> = {
  "process.scheduler": (s) => ({ ...s, process: { ...s.process, scheduler: { policy: "SCHED_BATCH" } } }),
  "process.ioPriority": (s) => ({
    ...s,
    process: { ...s.process, ioPriority: { class: "IOPRIO_CLASS_IDLE", priority: 0 } },
  }),
  domainname: (s) => ({ ...s, domainname: "x" }),
  "linux.personality": (s) => ({ ...s, linux: { ...s.linux, personality: { domain: "LINUX32" } } }),
  "linux.intelRdt": (s) => ({ ...s, linux: { ...s.linux, intelRdt: { closID: "x" } } }),
  "mounts: uidMappings": (s) => ({ ...s, mounts: [...s.mounts ?? [], mapped] }),
  'linux.namespaces "time"': (s) => ({
    ...s,
    linux: { ...s.linux, namespaces: [...s.linux.namespaces ?? [], { type: "time" }] },
  }),
  'mounts: option "ridmap"': (s) => ({
    ...s,
    mounts: [...s.mounts ?? [], { destination: "/m", type: "bind", source: "/tmp", options: ["rbind", "ridmap"] }],
  }),
  'process.capabilities "CAP_NONE"': (s) => ({
    ...s,
    process: { ...s.process, capabilities: { bounding: ["CAP_NONE"] } },
  }),
};

/* Those that Debian has. */
const lacking: Readonly<Record<string, readonly string[]>> = {
  crun: ["process.scheduler", "process.ioPriority", "linux.intelRdt"],
  runc: [
    "process.scheduler",
    "process.ioPriority",
    "domainname",
    "linux.personality",
    "mounts: uidMappings",
    'linux.namespaces "time"',
    'mounts: option "ridmap"',
    'process.capabilities "CAP_NONE"',
  ],
};

for (const [id, fields] of Object.entries(lacking)) {
  describe(`what ${id} does not have`, { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-features-"));
    let runtime: OciRuntime;
    before(async () => {
      makeBusyboxRoot(join(folder, "root"));
      runtime = await ociRuntimeOf(id, join(folder, "oci"), `/mayfly-test-${process.pid}-features-${id}`);
    });
    after(async () => {
      await runtime[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    });
    const create = (spec: Spec) => runtime.create({ id: "x", spec, rootfs: busyboxRootfs(join(folder, "root")) });

    it("is refused by name, before anything is made", async () => {
      for (const field of fields) {
        await assert.rejects(create(asking[field]?.(specFor(["true"])) ?? specFor([])), (error: Error) => {
          assert.ok(error.message.startsWith(`cannot use ${field}: ${id} 1.`), error.message);
          return true;
        });
      }
      assert.deepEqual(readdirSync(join(folder, "oci/tasks")), []);
      assert.deepEqual(readdirSync(join(folder, "oci/state")), []);
    });

    it("is no mount namespace of another's", async () => {
      const spec = specFor(["true"]);
      const namespaces = [{ type: "mount", path: "/proc/1/ns/mnt" }] as const;
      await assert.rejects(create({ ...spec, linux: { ...spec.linux, namespaces: [...namespaces] } }), {
        code: "unimplemented",
        message: /a mount namespace by its path/,
      });
    });

    it("is all that is refused", async () => {
      const others = Object.keys(asking).filter((field) => !fields.includes(field) && /^(?:domainname)$/.test(field));
      for (const field of ["", ...others]) {
        const task = await create(asking[field]?.(specFor(["true"])) ?? specFor(["true"]));
        await task.start();
        assert.equal((await task.wait()).code, 0);
        await task.delete();
      }
    });

    if (id === "runc") {
      it("is a change of device rules", async () => {
        const task = await create(specFor(["sleep", "60"]));
        await assert.rejects(demand(task, "update").update({ devices: [{ allow: false, access: "rwm" }] }), {
          code: "unimplemented",
        });
        await task.delete();
      });
    }
  });
}

describe("ProgramFeatures", () => {
  const of = (name: string, version: readonly number[], features = {}) =>
    new ProgramFeatures(name, { name, version }, features);
  it("trusts newer versions, and programs that it does not know", () => {
    const spec = Object.entries(asking).filter(([field]) => /^(?:process|domain)/.test(field) && !field.includes("cap"))
      .reduce((all, [, change]) => change(all), specFor(["true"]));
    for (const features of [of("crun", [1, 8, 6]), of("crun", [2]), of("runc", [1, 2]), of("youki", [0, 1])]) {
      features.check(spec);
    }
    for (const features of [of("crun", [1, 8, 5]), of("crun", [0, 21]), of("runc", [1, 1, 15])]) {
      assert.throws(() => features.check(spec), { code: "unimplemented" });
    }
  });

  it("believes what a program says of itself", () => {
    const features = of("some", [1], { linux: { seccomp: { actions: ["SCMP_ACT_ALLOW"] } } });
    const spec = specFor(["true"]);
    const profile = { defaultAction: "SCMP_ACT_LOG" } as const;
    assert.throws(() => features.check({ ...spec, linux: { ...spec.linux, seccomp: profile } }), {
      code: "unimplemented",
      message: /action "SCMP_ACT_LOG": some 1 /,
    });
  });
});
