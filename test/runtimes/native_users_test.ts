import assert from "node:assert/strict";
import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { demand, type Executes, type Task } from "../../src/core/task.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, cgroupsOf, nativeRuntime, specFor } from "./native_runtime.ts";

const isRoot = process.geteuid?.() === 0;
let count = 0;

describe("NativeRuntime, users and clocks", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-users`;
  const uidMappings = [{ containerID: 0, hostID: 100_000, size: 65536 }];
  const gidMappings = [{ containerID: 0, hostID: 200_000, size: 65536 }];
  let folder: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-users-"));
    makeBusyboxRoot(join(folder, "root"));
    writeFileSync(join(folder, "root/etc/user"), "x");
    chownSync(join(folder, "root/etc/user"), 1000, 1001);
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    assert.deepEqual(cgroupsOf(cgroupParent), []);
    rmSync(folder, { recursive: true, force: true });
  });

  interface Changes {
    readonly linux?: Partial<Spec["linux"]>;
    readonly process?: Partial<SpecProcess>;
    readonly mounts?: Spec["mounts"];
    readonly rootfs?: Rootfs;
  }

  const withUsers = (extra: NonNullable<Spec["linux"]["namespaces"]> = [{ type: "user" }]) => [
    ...specFor(["true"]).linux.namespaces ?? [],
    ...extra,
  ];

  function create(script: string, changes: Changes = {}): Promise<Task & Executes> {
    const spec = specFor(["sh", "-c", script]);
    const linux = { ...spec.linux, namespaces: withUsers(), uidMappings, gidMappings, ...changes.linux };
    const mounts = changes.mounts ?? spec.mounts;
    return runtime.create({
      id: `u${count++}`,
      spec: { ...spec, mounts, process: { ...spec.process, ...changes.process }, linux },
      rootfs: changes.rootfs ?? rootfs,
    }).then((task) => demand(task, "exec"));
  }

  const text = (stream: ReadableStream | undefined) => new Response(stream).text();

  async function output(script: string, changes?: Changes): Promise<string> {
    const task = await create(script, changes);
    try {
      await task.start();
      const [stdout, stderr] = await Promise.all([text(task.stdout), text(task.stderr)]);
      assert.equal((await task.wait()).code, 0, stderr + stdout);
      return stdout.trim();
    } finally {
      await task.delete();
    }
  }

  it("maps users and groups: its root is somebody else on the host", async () => {
    const task = await create("id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; read x");
    await task.start();
    const status = readFileSync(`/proc/${task.pid}/status`, "utf8");
    assert.match(status, /^Uid:\s+100000\s+100000\s+100000\s+100000$/m);
    assert.match(status, /^Gid:\s+200000\s+200000\s+200000\s+200000$/m);
    await task.stdin?.close();
    const lines = (await text(task.stdout)).trim().split("\n").map((line) => line.trim().split(/\s+/).join(" "));
    assert.deepEqual(lines, ["0", "0", "0 100000 65536", "0 200000 65536"]);
    await task.delete();
  });

  it("shows the image's files as they are in the image", async () => {
    const script = "stat -c '%u:%g' / /bin/sh /etc/user; echo x > /new; stat -c '%u:%g' /new; chown 5:6 /etc/user; " +
      "stat -c '%u:%g' /etc/user; cat /etc/user";
    assert.deepEqual((await output(script)).split("\n"), ["0:0", "0:0", "1000:1001", "0:0", "5:6", "x"]);
    assert.equal(statSync(join(folder, "root/etc/user")).uid, 1000);
  });

  it("stores what is written with the ids of the container", async () => {
    const [upper, work] = [join(folder, "s/fs"), join(folder, "s/work")];
    for (const each of [upper, work]) mkdirSync(each, { recursive: true });
    const options = [`lowerdir=${join(folder, "root")}`, `upperdir=${upper}`, `workdir=${work}`];
    const own = { mounts: [{ type: "overlay", source: "overlay", options }] };
    await output("echo x > /kept; chown 7:8 /kept; chown 9:9 /etc/user", { rootfs: own });
    const [kept, user] = [statSync(join(upper, "kept")), statSync(join(upper, "etc/user"))];
    assert.deepEqual([kept.uid, kept.gid, user.uid, user.gid], [7, 8, 9, 9]);
    const bind = { mounts: [{ type: "bind", source: join(folder, "root"), options: ["rbind", "rw"] }] };
    await output("echo x > /tmp/bound", { rootfs: bind });
    assert.equal(statSync(join(folder, "root/tmp/bound")).uid, 0);
    rmSync(join(folder, "root/tmp/bound"));
  });

  it("has the whole default configuration", async () => {
    const script =
      "cat /proc/self/mounts | cut -d' ' -f2; hostname 2>/dev/null; stat -c '%n %t:%T' /dev/null /dev/zero; " +
      "echo x > /dev/null && echo null; ls /proc/timer_list; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; " +
      "cat /proc/self/oom_score_adj; ulimit -n; ls -d /dev/ptmx /dev/shm";
    const text = await output(
      script.replace("cut -d' ' -f2", "while read a b c; do echo $b; done").replace("hostname 2>/dev/null;", ""),
      {
        process: { oomScoreAdj: 345, rlimits: [{ type: "RLIMIT_NOFILE", soft: 100, hard: 2048 }] },
        linux: { sysctl: { "net.ipv4.ip_unprivileged_port_start": "81" } },
      },
    );
    const lines = text.split("\n");
    for (const point of ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]) {
      assert.ok(lines.includes(point), `${point} in ${text}`);
    }
    assert.deepEqual(lines.filter((line) => !line.startsWith("/") || line.includes(":")), [
      "/dev/null 1:3",
      "/dev/zero 1:5",
      "null",
      "81",
      "345",
      "100",
    ]);
    for (const line of lines.filter((each) => each.startsWith("/"))) assert.match(line, /^\/(?:$|proc|dev|sys)/);
  });

  it("has power over what is its own, and none over the host", async () => {
    const capabilities = {
      bounding: ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"],
      permitted: ["CAP_SYS_ADMIN"],
      effective: ["CAP_SYS_ADMIN"],
    };
    const { seccomp: _, ...linux } = specFor(["true"]).linux;
    const task = await create(
      "busybox mount -t tmpfs none /tmp && echo mounted; echo 1 > /proc/sys/kernel/panic; echo $?; cat /proc/1/root/nothing 2>/dev/null; ls /proc | wc -l",
      {
        process: { capabilities },
        linux: { ...linux, seccomp: null, namespaces: withUsers(), uidMappings, gidMappings, readonlyPaths: [] },
      },
    );
    await task.start();
    const lines = (await text(task.stdout)).trim().split("\n");
    assert.equal(lines[0], "mounted");
    assert.notEqual(lines[1], "0");
    await task.delete();
  });

  it("is another user where the spec says so, whose streams and terminal are its own", async () => {
    const user = { uid: 1000, gid: 1001, additionalGids: [29] };
    assert.equal(
      await output("id -u; id -G; echo x > /dev/stdout; cat /etc/user", { process: { user } }),
      "1000\n1001 29\nx\nx",
    );
    const terminal = await output("tty; stat -c %u $(tty); id -u", { process: { user, terminal: true } });
    assert.match(terminal, /^\/dev\/pts\/0\r\n1000\r\n1000$/);
  });

  it("takes more processes", async () => {
    const task = await create("sleep 60");
    await task.start();
    const base =
      specFor(["sh", "-c", "id -u; cat /proc/1/cmdline; readlink /proc/self/ns/user; echo x > /dev/stdout"]).process;
    for (const user of [{ uid: 0, gid: 0 }, { uid: 1000, gid: 1000 }]) {
      const made = await task.exec({ id: `p${user.uid}`, process: { ...base, user } });
      const [first, ...rest] = (await text(made.stdout)).split("\n");
      assert.equal((await made.delete()).code, 0);
      assert.equal(first, String(user.uid));
      assert.ok(rest.includes("x"), rest.join());
    }
    const tty = await task.exec({ id: "tty", process: { ...base, args: ["busybox", "tty"], terminal: true } });
    assert.match(await text(tty.stdout), /^\/dev\/pts\/\d/);
    await tty.delete();
    await task.delete();
  });

  it("joins the users of another container", async () => {
    const first = await create("sleep 60");
    await first.start();
    const namespaces = withUsers([{ type: "user", path: `/proc/${first.pid}/ns/user` }]);
    const inside = "readlink /proc/self/ns/user; cat /etc/user";
    const second = await create(inside, { linux: { namespaces } });
    await second.start();
    assert.equal(await text(second.stdout), `${readlinkSync(`/proc/${first.pid}/ns/user`)}\nx`);
    await second.delete();
    await first.delete();
  });

  it("refuses maps that cannot be", async () => {
    const rejects = (changes: Changes, field: string) =>
      assert.rejects(create("true", changes), (error: Error & { code?: string }) => {
        assert.equal(error.code, "invalid_argument", String(error));
        assert.ok(error.message.includes(field), error.message);
        return true;
      });
    await rejects({ linux: { uidMappings: [] } }, "linux.uidMappings");
    await rejects({ linux: { gidMappings: [{ containerID: 1, hostID: 1, size: 1 }] } }, "linux.gidMappings");
    await rejects({ linux: { namespaces: withUsers([]) } }, "linux.uidMappings");
    await rejects({ process: { user: { uid: 70_000, gid: 0 } } }, "process.user.uid");
    await rejects({ process: { user: { uid: 0, gid: 70_000 } } }, "process.user.gid");
    const twice = [...uidMappings, { containerID: 10, hostID: 5, size: 5 }];
    await rejects({ linux: { uidMappings: twice } }, "uid_map");
    assert.deepEqual(runtime.tasks(), []);
  });

  it("has clocks of its own", async () => {
    const timeOffsets = { monotonic: { secs: 86400, nanosecs: 5 }, boottime: { secs: 1_000_000 } };
    const uptime = "cat /proc/uptime; cat /proc/self/timens_offsets";
    for (const extra of [[{ type: "time" }], [{ type: "user" }, { type: "time" }]] as const) {
      const own = extra.length === 2 ? { uidMappings, gidMappings } : { uidMappings: [], gidMappings: [] };
      const text = await output(uptime, { linux: { ...own, namespaces: withUsers([...extra]), timeOffsets } });
      assert.ok(Number(text.split(" ")[0]) > 1_000_000, text);
      assert.match(text, /monotonic\s+86400\s+5\nboottime\s+1000000\s+0$/);
      const task = await create("read x", { linux: { ...own, namespaces: withUsers([...extra]), timeOffsets } });
      await task.start();
      const other = await task.exec({ id: "other", process: specFor(["sh", "-c", uptime]).process });
      assert.match(await new Response(other.stdout).text(), /^1\d{6}\.[^]*monotonic\s+86400\s+5\n/);
      await task.delete();
    }
    await assert.rejects(create("true", { linux: { timeOffsets } }), { code: "invalid_argument" });
  });
});
