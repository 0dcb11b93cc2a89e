import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readlinkSync, rmdirSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
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
});
