import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readlinkSync, rmdirSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import type { SpecResources } from "../../../src/core/spec.ts";
import { currentHost } from "../../../src/host/mod.ts";
import { DeviceFilters } from "../../../src/linux/cgroup/device_filters.ts";
import { deviceRules } from "../../../src/linux/cgroup/devices.ts";
import { detectLayout } from "../../../src/linux/cgroup/mod.ts";
import { Kernel } from "../../../src/linux/kernel.ts";

const kernel = new Kernel(await currentHost());
const hierarchy = detectLayout(kernel).hierarchies.find(({ version }) => version === 2);

/** Descriptors of programs that this process has open. */
function programs(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("bpf-prog");
    } catch {
      return false;
    }
  }).length;
}

const rulesFor = (major: number) =>
  deviceRules([{ allow: false, access: "rwm" }, { allow: true, type: "c", major, minor: 0, access: "r" }]);

/** Rules that deny everything, or allow /dev/kmsg. */
const kmsg = (allow: boolean): NonNullable<SpecResources["devices"]> =>
  allow ? [{ allow, type: "c", major: 1, minor: 11, access: "r" }] : [{ allow, access: "rwm" }];

describe("DeviceFilters", () => {
  it("loads the same rules once, holds few programs, and none when it is disposed of", () => {
    const before = programs();
    {
      using filters = new DeviceFilters(kernel);
      assert.equal(filters.load(rulesFor(200)), filters.load(rulesFor(200)));
      assert.equal(programs(), before + 1);
      for (let major = 300; major < 400; major++) filters.load(rulesFor(major));
      assert.equal(programs(), before + 16);
    }
    assert.equal(programs(), before);
  });

  it(
    "attach() keeps a cgroup from a device, also after it was disposed of",
    { skip: hierarchy === undefined ? "there is no cgroup v2" : false },
    () => {
      const folder = `${hierarchy?.path}/mayfly-test-filter-${process.pid}`;
      mkdirSync(folder);
      try {
        {
          using filters = new DeviceFilters(kernel);
          filters.attach(folder, rulesFor(200));
        }
        const look = `echo $$ >${folder}/cgroup.procs; dd if=/dev/null count=1 status=none && echo null;` +
          "dd if=/dev/kmsg count=0 status=none 2>/dev/null || echo refused";
        assert.equal(execFileSync("/bin/sh", ["-c", look], { encoding: "utf8" }), "null\nrefused\n");
      } finally {
        rmdirSync(folder);
      }
    },
  );

  it(
    "replace() changes what a cgroup may use, and back, while its processes run",
    { skip: hierarchy === undefined ? "there is no cgroup v2" : false },
    () => {
      const folder = `${hierarchy?.path}/mayfly-test-replace-${process.pid}`;
      mkdirSync(folder);
      const before = programs();
      try {
        using filters = new DeviceFilters(kernel);
        const random = () => {
          const look =
            `echo $$ >${folder}/cgroup.procs; dd if=/dev/kmsg count=0 status=none 2>/dev/null && echo yes || echo no`;
          return execFileSync("/bin/sh", ["-c", look], { encoding: "utf8" }).trim();
        };
        const both = [...kmsg(false), ...kmsg(true)];
        assert.equal(random(), "yes");
        {
          using first = filters.replace(folder, deviceRules(kmsg(false)));
          assert.equal(random(), "no");
          using second = filters.replace(folder, deviceRules(both));
          assert.equal(random(), "yes");
          second.undo();
          assert.equal(random(), "no");
          first.undo();
          assert.equal(random(), "yes");
        }
        filters.attach(folder, deviceRules(kmsg(false)));
        filters.replace(folder, deviceRules(both))[Symbol.dispose]();
        assert.equal(random(), "yes");
        assert.equal(programs(), before + 2);
        filters.attach(folder, rulesFor(200));
        assert.throws(() => filters.replace(folder, deviceRules(both)), { code: "failed_precondition" });
      } finally {
        rmdirSync(folder);
      }
      assert.equal(programs(), before);
    },
  );
});
