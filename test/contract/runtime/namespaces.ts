import assert from "node:assert/strict";
import { readlinkSync } from "node:fs";
import type { Fixture } from "./fixture.ts";

/** What a container sees of the machine. */
export function namespaces(f: Fixture): void {
  const { it, output } = f;
  it("are its own", async () => {
    const types = ["pid", "mnt", "ipc", "uts", "net", "cgroup"];
    const inside = (await output(`for n in ${types.join(" ")}; do readlink /proc/self/ns/$n; done`)).split("\n");
    const outside = types.map((type) => readlinkSync(`/proc/self/ns/${type}`));
    for (const [index, type] of types.entries()) assert.notEqual(inside[index], outside[index], type);
    assert.equal(new Set(inside).size, types.length);
  });

  it("has its host name", async () => {
    assert.equal(await output("busybox hostname", { spec: { hostname: "may.fly" } }), "may.fly");
  });

  it("sees itself as the root of its cgroups", async () => {
    for (const line of (await output("cat /proc/self/cgroup")).split("\n")) assert.match(line, /:\/$/);
  });

  it("has its loopback up, and no other way out", async () => {
    assert.equal(await output("cat /sys/class/net/lo/flags"), "0x9");
    assert.equal(await output("(echo hi | nc -l -p 80 -w 2 &) ; sleep 0.2; nc 127.0.0.1 80 </dev/null"), "hi");
    const interfaces = (await output("cat /proc/net/dev")).split("\n").slice(2).map((line) =>
      line.split(":")[0]?.trim()
    );
    assert.ok(!interfaces.some((each) => each?.startsWith("eth")), interfaces.join());
  });

  it("takes its sysctls", async () => {
    const sysctl = { "net.ipv4.ip_unprivileged_port_start": "81", "kernel.shmmax": "65536" };
    const script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax";
    assert.equal(await output(script, { linux: { sysctl } }), "81\n65536");
  });
}
