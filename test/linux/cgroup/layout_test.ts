import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseLayout } from "../../../src/linux/cgroup/layout.ts";

describe("parseLayout()", () => {
  const lines = (...mounts: readonly string[]) =>
    mounts.map((mount, i) => `${30 + i} 23 ${mount.replace(" - ", " rw,relatime - ")}`).join("\n");

  it("finds each hierarchy once, wherever it is mounted again", () => {
    const text = lines(
      "0:30 / /sys/fs/cgroup/memory - cgroup cgroup rw,memory",
      "0:31 / /sys/fs/cgroup/cpu,cpuacct - cgroup cgroup rw,cpu,cpuacct",
      "0:37 / /sys/fs/cgroup/systemd - cgroup cgroup rw,name=systemd",
      "0:38 / /sys/fs/cgroup/unified - cgroup2 cgroup2 rw",
      "0:30 / /tmp/copy/sys/fs/cgroup/memory - cgroup cgroup rw,memory",
      "0:38 / /tmp/copy/sys/fs/cgroup/unified - cgroup2 cgroup2 rw",
    );
    const { hierarchies, find } = parseLayout(text, () => ["hugetlb"]);
    assert.deepEqual(hierarchies.map(({ version, name, controllers }) => [version, name, ...controllers]), [
      [1, "memory", "memory"],
      [1, "cpu,cpuacct", "cpu", "cpuacct"],
      [2, "unified", "hugetlb"],
    ]);
    assert.equal(find("memory")?.path, "/sys/fs/cgroup/memory");
  });
});
