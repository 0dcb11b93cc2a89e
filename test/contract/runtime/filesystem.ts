import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Rootfs } from "../../../src/core/mount.ts";
import { generateSpec } from "../../../src/tasks/spec.ts";
import { makeBusyboxRoot } from "../../support/busybox_image.ts";
import { code, type Fixture, image, MiB } from "./fixture.ts";

/** The root filesystem, and what is mounted in it. */
export function filesystem(f: Fixture): void {
  const { it, sh, run, output } = f;
  it("has a writable layer in memory, of its size, and leaves the image alone", async () => {
    const size = await output(
      "dd if=/dev/zero of=/big bs=1M count=20 2>&1; stat -c %s /big; rm /big; echo x > /bin/new",
      {},
    );
    assert.match(size, /No space left on device/);
    assert.ok(Number(size.split("\n").at(-1)) <= 8 * MiB);
    assert.ok(!readdirSync(f.root).includes("big"));
    assert.ok(!readdirSync(join(f.root, "bin")).includes("new"));
  });

  it("takes a scratch layer of 0 bytes for nothing, not for everything", async () => {
    const options = {
      ...sh("dd if=/dev/zero of=/big bs=64k count=4 2>&1"),
      rootfs: { ...f.scratch, scratch: { sizeBytes: 0 } },
    };
    assert.match((await run(options)).stdout, /No space left on device/);
  });

  it("is read-only where the spec says so", async () => {
    const changes = { settings: { readonlyRootfs: true } };
    assert.match(
      await output("touch /x 2>&1; touch /dev/shm/y && echo shm", changes),
      /Read-only file system\nshm$/,
    );
  });

  it("applies mounts without a scratch layer", async () => {
    const rootfs: Rootfs = { mounts: [{ type: "bind", source: f.root, options: ["rbind", "rw"] }] };
    const { exit } = await run({ ...sh("echo x > /tmp/written"), rootfs });
    assert.equal(exit.code, 0);
    assert.equal(readFileSync(join(f.root, "tmp/written"), "utf8"), "x\n");
    rmSync(join(f.root, "tmp/written"));
  });

  it("shows nothing of the host's mounts", async () => {
    const points = (await output("cat /proc/self/mounts")).split("\n").map((line) => line.split(" ")[1]);
    for (const point of points) assert.match(point ?? "", /^\/(?:$|proc|dev|sys)/);
  });

  it("has the kernel's filesystems with their options", async () => {
    const mounts = await output("cat /proc/self/mounts");
    const options = (point: string) =>
      mounts.split("\n").map((line) => line.split(" ")).find(([, path]) => path === point)?.[3]?.split(",") ?? [];
    for (
      const [point, wanted] of [
        ["/proc", ["nosuid", "nodev", "noexec"]],
        ["/sys", ["ro", "nosuid", "nodev", "noexec"]],
        ["/dev", ["nosuid"]],
        ["/dev/shm", ["nosuid", "nodev", "noexec"]],
        ["/dev/pts", ["nosuid", "noexec", "ptmxmode=666"]],
        ["/dev/mqueue", ["nosuid", "nodev", "noexec"]],
        ["/sys/fs/cgroup", ["ro", "nosuid", "nodev", "noexec"]],
      ] as const
    ) {
      for (const word of wanted) assert.ok(options(point).includes(word), `${point} ${word}: ${options(point)}`);
    }
  });

  it("has its devices and their links", async () => {
    const devices = await output(
      "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %F %a %t:%T' $d; done",
    );
    assert.deepEqual(devices.split("\n"), [
      "null character special file 666 1:3",
      "zero character special file 666 1:5",
      "full character special file 666 1:7",
      "random character special file 666 1:8",
      "urandom character special file 666 1:9",
      "tty character special file 666 5:0",
    ]);
    const links = await output("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done");
    assert.deepEqual(links.split("\n"), [
      "/proc/self/fd",
      "/proc/self/fd/0",
      "/proc/self/fd/1",
      "/proc/self/fd/2",
      "pts/ptmx",
    ]);
    assert.equal(await output("stat -c %a /dev/shm; : > /dev/pts/ptmx && echo open"), "1777\nopen");
  });

  it("may make device nodes, and open only those of its list", async () => {
    const script = "busybox mknod /d b 7 0 && cat /d 2>&1; busybox mknod /n c 1 3 && cat /n && echo null";
    assert.match(await output(script), /(?:not permitted|denied)\nnull$/);
  });

  it("makes the devices of the spec", async () => {
    const devices = [{
      type: "c",
      path: "/dev/sub/own",
      major: 1,
      minor: 5,
      fileMode: 0o640,
      uid: 5,
      gid: 6,
    }] as const;
    const line = await output("stat -c '%F %a %u:%g %t:%T' /dev/sub/own", { linux: { devices } });
    assert.equal(line, "character special file 640 5:6 1:5");
  });

  it("masks paths", async () => {
    const maskedPaths = ["/proc/kcore", "/proc/timer_list", "/sys/firmware", "/etc/passwd", "/nowhere"];
    const script = "cat /proc/timer_list /etc/passwd | wc -c; ls /sys/firmware | wc -l; touch /sys/firmware/x 2>&1";
    const lines = await run(sh(script, { linux: { maskedPaths } }));
    assert.match(lines.stdout, /^0\n0\n.*Read-only/);
  });

  it("makes paths read-only", async () => {
    const changes = { linux: { readonlyPaths: ["/proc/sys", "/tmp", "/nowhere"] } };
    const { stdout } = await run(sh("echo 1 > /proc/sys/kernel/shmmni; touch /tmp/x; touch /y && echo y", changes));
    assert.equal(stdout, "y\n");
    const { stderr } = await run(sh("echo 1 > /proc/sys/kernel/shmmni; touch /tmp/x", changes));
    assert.equal(stderr.match(/Read-only file system/g)?.length, 2);
  });

  it("mounts folders and files of the host", async () => {
    const data = join(f.folder, "data");
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, "file"), "of the host\n");
    const mounts = [
      ...generateSpec({ image, id: "m" }).mounts ?? [],
      { destination: "/new/rw", type: "bind", source: data, options: ["rbind", "rw", "nosuid", "nodev"] },
      { destination: "/ro", source: data, options: ["bind", "ro"] },
      { destination: "/etc/new/file", source: join(data, "file"), options: ["bind", "ro"] },
      { destination: "/etc/passwd", source: join(data, "file"), options: ["bind", "ro", "noexec"] },
      { destination: "/more", type: "tmpfs", source: "tmpfs", options: ["size=64k", "mode=700"] },
    ];
    const script = "cat /new/rw/file /etc/new/file /etc/passwd; echo x > /new/rw/out; touch /ro/x; stat -c %a /more";
    const { stdout, stderr } = await run(sh(script, { spec: { mounts } }));
    assert.equal(stdout, "of the host\nof the host\nof the host\n700\n");
    assert.match(stderr, /Read-only file system/);
    assert.equal(readFileSync(join(data, "out"), "utf8"), "x\n");
    assert.deepEqual(readdirSync(data).sort(), ["file", "out"]);
  });

  it("keeps a hostile image's links inside", async () => {
    const outside = join(f.folder, "outside");
    mkdirSync(outside, { recursive: true });
    for (const link of ["proc", "sys", "dev"]) {
      const hostile = join(f.folder, `hostile-${link}`);
      makeBusyboxRoot(hostile);
      rmSync(join(hostile, link), { recursive: true });
      symlinkSync(outside, join(hostile, link));
      const rootfs: Rootfs = {
        mounts: [{ type: "bind", source: hostile, options: ["rbind", "ro"] }],
        scratch: { sizeBytes: MiB },
      };
      // One may follow the link inside the root, and needs not refuse it.
      await run({ ...sh("true"), rootfs }).catch(code("failed_precondition"));
    }
    const sly = join(f.folder, "hostile-target");
    makeBusyboxRoot(sly);
    symlinkSync(outside, join(sly, "data"));
    const mounts = [
      ...generateSpec({ image, id: "m" }).mounts ?? [],
      { destination: "/data/deep", type: "tmpfs", source: "tmpfs" },
    ];
    const rootfs: Rootfs = {
      mounts: [{ type: "bind", source: sly, options: ["rbind", "ro"] }],
      scratch: { sizeBytes: MiB },
    };
    await run({ ...sh("true", { spec: { mounts } }), rootfs }).catch(() => {});
    assert.deepEqual(readdirSync(outside), []);
  });
}
