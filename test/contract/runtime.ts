import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { ImageConfig } from "../../src/core/descriptor.ts";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { CreateTask, Runtime } from "../../src/core/runtime.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { demand, type Exit, type Task } from "../../src/core/task.ts";
import { generateSpec, type SpecSettings } from "../../src/tasks/spec.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";

export interface RuntimeUnderTest {
  readonly runtime: Runtime;
  /** What launches have left on this machine (cgroups, mounts, files), one line each. */
  leftovers(): readonly string[];
  close?(): Promise<void> | void;
}

/** A spec's parts that a test changes. */
interface Changes {
  readonly settings?: SpecSettings;
  readonly process?: Partial<SpecProcess>;
  readonly linux?: Partial<Spec["linux"]>;
  readonly spec?: Partial<Spec>;
}

interface Outcome {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
}

const image: ImageConfig = {
  os: "linux",
  architecture: "amd64",
  config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
  rootfs: { type: "layers", diff_ids: [] },
};

const MiB = 1024 * 1024;
let count = 0;

/**
 * What every container runtime has to do: run it on an implementation with a folder for it to work in.
 * @param open makes the runtime; it is called once.
 * @param options.noLimits why the machine cannot limit or count resources here.
 */
export function testRuntime(
  name: string,
  open: (folder: string) => Promise<RuntimeUnderTest>,
  options: { readonly noLimits?: string } = {},
): void {
  describe(`Runtime ${name}`, { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
    let folder: string;
    let root: string;
    let scratch: Rootfs;
    let test: RuntimeUnderTest;
    let runtime: Runtime;

    before(async () => {
      folder = mkdtempSync(join(tmpdir(), "mayfly-runtime-"));
      root = join(folder, "root");
      makeBusyboxRoot(root);
      scratch = { mounts: [{ type: "bind", source: root, options: ["rbind", "ro"] }], scratch: { sizeBytes: 8 * MiB } };
      test = await open(folder);
      runtime = test.runtime;
    });

    after(async () => {
      await test?.close?.();
      rmSync(folder, { recursive: true, force: true });
    });

    function specOf(args: readonly string[], changes: Changes = {}, id = `t${process.pid}-${count++}`): CreateTask {
      const base = generateSpec({ image, id, settings: { command: [...args], ...changes.settings } });
      const { cgroupsPath: _, ...linux } = base.linux;
      const spec: Spec = {
        ...base,
        ...changes.spec,
        process: { ...base.process, ...changes.process },
        linux: { ...linux, ...changes.linux },
      };
      return { id, spec, rootfs: scratch };
    }

    const sh = (script: string, changes?: Changes) => specOf(["sh", "-c", script], changes);

    /** Creates, starts, collects, waits and deletes. */
    async function run(options: CreateTask, input: string | Uint8Array = ""): Promise<Outcome> {
      const task = await runtime.create(options);
      try {
        await task.start();
        const [stdout, stderr] = [text(task.stdout), text(task.stderr)];
        const writer = task.stdin?.getWriter();
        const fed = writer?.write(typeof input === "string" ? new TextEncoder().encode(input) : input)
          .then(() => writer.close()).catch(() => {});
        const exit = await task.wait();
        await fed;
        return { exit, stdout: await stdout, stderr: await stderr };
      } finally {
        await task.delete();
      }
    }

    const output = async (script: string, changes?: Changes, input?: string): Promise<string> => {
      const { exit, stdout, stderr } = await run(sh(script, changes), input);
      assert.equal(exit.code, 0, `${script}: ${stderr}`);
      return stdout.trim();
    };

    describe("lifecycle", () => {
      it("goes created, running, stopped, gone", async () => {
        const options = sh("read line");
        const task = await runtime.create(options);
        assert.equal(task.status, "created");
        assert.ok(task.pid === undefined || task.pid > 1);
        const exited = task.wait();
        await task.start();
        assert.equal(task.status, "running");
        assert.ok(task.pid !== undefined && task.pid > 1);
        assert.deepEqual(runtime.tasks().map(({ id }) => id), [options.id]);
        const writer = task.stdin?.getWriter();
        await writer?.write(new TextEncoder().encode("go\n"));
        const exit = await exited;
        await writer?.close().catch(() => {});
        assert.equal(task.status, "stopped");
        assert.equal(exit.code, 0);
        assert.equal(exit.signal, undefined);
        assert.ok(Math.abs(exit.exitedAt.getTime() - Date.now()) < 10_000);
        assert.deepEqual(await task.delete(), exit);
        assert.deepEqual(runtime.tasks(), []);
      });

      for (const code of [0, 1, 42, 255]) {
        it(`tells exit status ${code}`, async () => {
          assert.equal((await run(sh(`exit ${code}`))).exit.code, code);
        });
      }

      for (const signal of [9, 6]) {
        it(`tells that signal ${signal} ended it`, async () => {
          // PID 1 is not killed by its own signals: a child is, and the shell says so.
          const { exit } = await run(sh(`sh -c 'kill -${signal} $$'; exit $?`));
          assert.equal(exit.code, 128 + signal);
        });
      }

      it("kill() ends it, and is no error afterwards", async () => {
        const task = await runtime.create(specOf(["sleep", "60"]));
        await task.start();
        await task.kill();
        const exit = await task.wait();
        assert.equal(exit.code, 137);
        assert.equal(exit.signal, 9);
        assert.equal(exit.oomKilled, false);
        await task.kill();
        await task.delete();
        await task.kill();
      });

      it("kill() sends other signals", async () => {
        const task = await runtime.create(sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"));
        await task.start();
        const reader = task.stdout?.getReader();
        await reader?.read();
        await task.kill(15);
        assert.equal((await task.wait()).code, 7);
        await reader?.cancel();
        await task.delete();
      });

      it("kill() refuses a signal that there is none of", async () => {
        const task = await runtime.create(specOf(["sleep", "60"]));
        await task.start();
        await assert.rejects(task.kill(999), code("invalid_argument"));
        await task.delete();
      });

      it("start() refuses a second time", async () => {
        const task = await runtime.create(specOf(["sleep", "60"]));
        await task.start();
        await assert.rejects(task.start(), code("failed_precondition"));
        await task.delete();
        await assert.rejects(task.start(), code("failed_precondition"));
      });

      it("delete() kills, may be called again, and may come before start", async () => {
        const running = await runtime.create(specOf(["sleep", "60"]));
        await running.start();
        const exits = await Promise.all([running.delete(), running.delete()]);
        assert.equal(exits[0]?.signal, 9);
        assert.deepEqual(exits[1], exits[0]);
        const created = await runtime.create(specOf(["true"]));
        assert.equal(await created.delete(), undefined);
        assert.equal(await created.delete(), undefined);
        await assert.rejects(created.wait(), code("failed_precondition"));
      });

      it("ends what it left in the background", async () => {
        const { stdout, exit } = await run(sh("sleep 60 & echo $!"));
        assert.equal(exit.code, 0);
        assert.match(stdout, /^\d+\n$/);
      });

      it("create() refuses an id in use, and ids that are none", async () => {
        const options = specOf(["true"]);
        const task = await runtime.create(options);
        await assert.rejects(runtime.create(options), code("already_exists"));
        await task.delete();
        for (const id of ["", "-a", "../x", "a/b", "a".repeat(129)]) {
          await assert.rejects(runtime.create({ ...options, id }), code("invalid_argument"), id);
        }
      });

      it("runs 16 at once", async () => {
        const runs = Array.from({ length: 16 }, (_, index) => run(sh(`cat; exit ${index}`), `hello ${index}`));
        for (const [index, { exit, stdout }] of (await Promise.all(runs)).entries()) {
          assert.equal(exit.code, index);
          assert.equal(stdout, `hello ${index}`);
        }
      });

      it("stats() tells what it uses while it runs", { skip: options.noLimits ?? false }, async () => {
        const task = await runtime.create(sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; sleep 60"));
        await assert.rejects(demand(task, "stats").stats(), code("failed_precondition"));
        await task.start();
        const reader = task.stdout?.getReader();
        await reader?.read();
        const stats = await demand(task, "stats").stats();
        assert.ok((stats.cpuMicros ?? 0) > 0, `cpuMicros ${stats.cpuMicros}`);
        assert.ok((stats.memoryPeakBytes ?? 0) > 0, `memoryPeakBytes ${stats.memoryPeakBytes}`);
        assert.equal(stats.pids, 1);
        await reader?.cancel();
        const exit = await task.delete();
        assert.ok((exit?.usage.cpuMicros ?? 0) >= (stats.cpuMicros ?? 0));
        await assert.rejects(demand(task, "stats").stats(), code("failed_precondition"));
      });
    });

    describe("standard streams", () => {
      it("carry 16 MiB through, unchanged", async () => {
        const input = Uint8Array.from({ length: 16 * MiB }, (_, index) => index % 251);
        const task = await runtime.create(specOf(["cat"]));
        await task.start();
        const writer = task.stdin?.getWriter();
        const written = writer?.write(input).then(() => writer.close());
        const received = new Uint8Array(await new Response(task.stdout).arrayBuffer());
        await written;
        assert.equal(Buffer.compare(input, received), 0);
        assert.equal((await task.delete())?.code, 0);
      });

      it("are apart from each other", async () => {
        const { stdout, stderr } = await run(sh("cat; echo error >&2"), "in\n");
        assert.equal(stdout, "in\n");
        assert.equal(stderr, "error\n");
      });

      it("come as they are written", async () => {
        const task = await runtime.create(sh("echo one; read line; echo two"));
        await task.start();
        const reader = task.stdout?.getReader();
        assert.equal(new TextDecoder().decode((await reader?.read())?.value), "one\n");
        const writer = task.stdin?.getWriter();
        await writer?.write(new TextEncoder().encode("\n"));
        assert.equal(new TextDecoder().decode((await reader?.read())?.value), "two\n");
        assert.equal((await reader?.read())?.done, true);
        await writer?.close().catch(() => {});
        await task.delete();
      });

      it("are /dev/null where no pipe is asked for", async () => {
        const stdio = { stdin: false, stdout: true, stderr: false };
        const task = await runtime.create({ ...sh("cat; readlink /proc/self/fd/0; echo x >&2"), stdio });
        assert.equal(task.stdin, undefined);
        assert.equal(task.stderr, undefined);
        await task.start();
        assert.match(await text(task.stdout), /^\/(?:dev\/)?null\n$/);
        assert.equal((await task.delete())?.code, 0);
      });

      it("can be opened again by their names, by any user", async () => {
        assert.equal(await output("echo x > /dev/stdout", { settings: { user: "1000:1000" } }), "x");
      });
    });

    describe("process", () => {
      it("has its arguments and environment, and no other", async () => {
        const { stdout } = await run(specOf(["env"], { process: { env: ["PATH=/bin", "A=b c", "E="] } }));
        assert.deepEqual(stdout.trim().split("\n").sort(), ["A=b c", "E=", "PATH=/bin"]);
        const args = await run(specOf(["sh", "-c", 'printf "<%s>" "$@"', "sh", "a b", "", "ü*"]));
        assert.equal(args.stdout, "<a b><><ü*>");
      });

      it("starts in its working folder, which is made where it is missing", async () => {
        assert.equal(await output("pwd", { process: { cwd: "/tmp" } }), "/tmp");
        assert.equal(await output("pwd", { process: { cwd: "/new/folder" } }), "/new/folder");
      });

      it("is its user", async () => {
        const user = { uid: 1000, gid: 1001, additionalGids: [29, 44], umask: 0o027 };
        const lines = await output("id -u; id -g; id -G; umask", { process: { user } });
        assert.deepEqual(lines.split("\n"), ["1000", "1001", "1001 29 44", "0027"]);
        assert.equal(await output("id -u; id -G; umask"), "0\n0\n0022");
      });

      it("has its capabilities in five sets", async () => {
        const capabilities = {
          bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
          permitted: ["CAP_CHOWN", "CAP_KILL"],
          effective: ["CAP_CHOWN"],
          inheritable: ["CAP_KILL"],
          ambient: ["CAP_KILL"],
        };
        const user = { uid: 1000, gid: 1000 };
        const status = await output("cat /proc/self/status", { process: { capabilities, user } });
        const set = (field: string) =>
          Number.parseInt(new RegExp(`^${field}:\\s*(\\w+)$`, "m").exec(status)?.[1] ?? "", 16);
        // execve of a program without file capabilities leaves a user the ambient ones.
        assert.equal(set("CapBnd"), 1 << 0 | 1 << 5 | 1 << 10);
        assert.equal(set("CapInh"), 1 << 5);
        assert.equal(set("CapAmb"), 1 << 5);
        assert.equal(set("CapPrm"), 1 << 5);
        assert.equal(set("CapEff"), 1 << 5);
      });

      it("has none without them, and may gain none", async () => {
        const status = await output("cat /proc/self/status", { process: { capabilities: {} } });
        for (const field of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
          assert.match(status, new RegExp(`^${field}:\\s*0+$`, "m"));
        }
        assert.match(status, /^NoNewPrivs:\s*1$/m);
      });

      it("is under its seccomp filter", async () => {
        const status = await output("cat /proc/self/status");
        assert.match(status, /^Seccomp:\s*2$/m);
        const mount = "busybox mount -t tmpfs none /tmp 2>&1; echo $?";
        assert.match(await output(mount), /(?:not permitted|denied)[^]*1$/);
        const seccomp = {
          defaultAction: "SCMP_ACT_ALLOW",
          architectures: ["SCMP_ARCH_X86_64"],
          syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }],
        } as const;
        assert.match(await output("mkdir /x 2>&1; echo $?", { linux: { seccomp } }), /No space left on device\n1$/);
        const open = { process: { noNewPrivileges: false }, linux: { seccomp } };
        assert.match(await output("mkdir /x 2>&1; echo $?", open), /No space left on device\n1$/);
      });

      it("has its resource limits and its OOM score", async () => {
        const rlimits = [{ type: "RLIMIT_NOFILE", soft: 77, hard: 88 }, { type: "RLIMIT_CORE", soft: 0, hard: 0 }];
        const lines = await output("ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj", {
          process: { rlimits, oomScoreAdj: 321 },
        });
        assert.deepEqual(lines.split("\n"), ["77", "88", "0", "321"]);
        assert.notEqual(readFileSync("/proc/self/oom_score_adj", "utf8").trim(), "321");
      });

      it("is alone: first process, own session, no descriptors but its streams", async () => {
        assert.equal(await output("echo $$"), "1");
        const stat = (await output("cat /proc/1/stat")).replace(/^.*\) /, "").split(" ");
        assert.deepEqual(stat.slice(2, 5), ["1", "1", "0"], "process group, session, terminal");
        const descriptors = (await output("ls /proc/1/fd")).split("\n");
        assert.deepEqual(descriptors.slice(0, 3), ["0", "1", "2"]);
        // The shell moves its script's descriptor to 10 and above, ls opens one more.
        assert.deepEqual((await run(specOf(["ls", "/proc/self/fd"]))).stdout.trim().split("\n"), ["0", "1", "2", "3"]);
      });

      it("begins with every signal at its default and none blocked", async () => {
        const { stdout: status } = await run(specOf(["cat", "/proc/self/status"]));
        for (const field of ["SigBlk", "SigIgn", "SigCgt"]) assert.match(status, new RegExp(`^${field}:\\s*0+$`, "m"));
      });
    });

    describe("namespaces", () => {
      it("are its own", async () => {
        const types = ["pid", "mnt", "ipc", "uts", "net", "cgroup"];
        const inside = (await output(`for n in ${types.join(" ")}; do readlink /proc/self/ns/$n; done`)).split("\n");
        const outside = await hostLinks(types);
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
    });

    describe("filesystem", () => {
      it("has a writable layer in memory, of its size, and leaves the image alone", async () => {
        const size = await output(
          "dd if=/dev/zero of=/big bs=1M count=20 2>&1; stat -c %s /big; rm /big; echo x > /bin/new",
          {},
        );
        assert.match(size, /No space left on device/);
        assert.ok(Number(size.split("\n").at(-1)) <= 8 * MiB);
        assert.ok(!readdirSync(root).includes("big"));
        assert.ok(!readdirSync(join(root, "bin")).includes("new"));
      });

      it("takes a scratch layer of 0 bytes for nothing, not for everything", async () => {
        const options = {
          ...sh("dd if=/dev/zero of=/big bs=64k count=4 2>&1"),
          rootfs: { ...scratch, scratch: { sizeBytes: 0 } },
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
        const rootfs: Rootfs = { mounts: [{ type: "bind", source: root, options: ["rbind", "rw"] }] };
        const { exit } = await run({ ...sh("echo x > /tmp/written"), rootfs });
        assert.equal(exit.code, 0);
        assert.equal(readFileSync(join(root, "tmp/written"), "utf8"), "x\n");
        rmSync(join(root, "tmp/written"));
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
        const data = join(folder, "data");
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
        const script =
          "cat /new/rw/file /etc/new/file /etc/passwd; echo x > /new/rw/out; touch /ro/x; stat -c %a /more";
        const { stdout, stderr } = await run(sh(script, { spec: { mounts } }));
        assert.equal(stdout, "of the host\nof the host\nof the host\n700\n");
        assert.match(stderr, /Read-only file system/);
        assert.equal(readFileSync(join(data, "out"), "utf8"), "x\n");
        assert.deepEqual(readdirSync(data).sort(), ["file", "out"]);
      });

      it("keeps a hostile image's links inside", async () => {
        const outside = join(folder, "outside");
        mkdirSync(outside, { recursive: true });
        for (const link of ["proc", "sys", "dev"]) {
          const hostile = join(folder, `hostile-${link}`);
          makeBusyboxRoot(hostile);
          rmSync(join(hostile, link), { recursive: true });
          symlinkSync(outside, join(hostile, link));
          const rootfs: Rootfs = {
            mounts: [{ type: "bind", source: hostile, options: ["rbind", "ro"] }],
            scratch: { sizeBytes: MiB },
          };
          await assert.rejects(run({ ...sh("true"), rootfs }), code("failed_precondition"), link);
        }
        const sly = join(folder, "hostile-target");
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
    });

    describe("limits", { skip: options.noLimits ?? false }, () => {
      it("tells that memory ran out", async () => {
        const changes = { settings: { memoryBytes: 16 * MiB } };
        const { exit } = await run(sh("exec dd if=/dev/zero of=/dev/shm/x bs=1M count=60", changes));
        assert.equal(exit.oomKilled, true);
        assert.equal(exit.code, 137);
        assert.ok((exit.usage.memoryPeakBytes ?? 0) > 15 * MiB);
        assert.equal((await run(sh("true", changes))).exit.oomKilled, false);
      });

      it("counts the scratch layer as memory", async () => {
        const rootfs = { ...scratch, scratch: { sizeBytes: 200 * MiB } };
        const options = sh("exec dd if=/dev/zero of=/x bs=1M count=60", { settings: { memoryBytes: 16 * MiB } });
        assert.equal((await run({ ...options, rootfs })).exit.oomKilled, true);
      });

      it("holds back more processes than allowed", async () => {
        const script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait";
        const { exit, stderr } = await run(sh(script, { settings: { pids: 4 } }));
        assert.notEqual(exit.code, 0);
        assert.match(stderr, /can't fork/);
      });

      it("limits processor time", async () => {
        const script = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true";
        assert.match(await output(script, { settings: { cpus: 0.5 } }), /^50000/);
      });
    });

    describe("commands that cannot run", () => {
      const table: readonly (readonly [what: string, args: readonly string[], code: ErrorCode, exitCode: number])[] = [
        ["is not in PATH", ["nonesuch"], "not_found", 127],
        ["is not at its path", ["/bin/nonesuch"], "not_found", 127],
        ["has no interpreter", ["/bin/lost"], "not_found", 127],
        ["is not executable", ["/etc/passwd"], "permission_denied", 126],
        ["is not executable in PATH", ["plain"], "permission_denied", 126],
        ["is a folder", ["/etc"], "permission_denied", 126],
        ["is no program", ["/bin/noise"], "permission_denied", 126],
      ];
      for (const [what, args, wanted, exitCode] of table) {
        it(`start() tells of one that ${what}`, async () => {
          writeFileSync(join(root, "bin/lost"), "#!/no/interpreter\n");
          writeFileSync(join(root, "bin/noise"), "\0\0\0\0");
          writeFileSync(join(root, "bin/plain"), "text");
          chmodSync(join(root, "bin/lost"), 0o755);
          chmodSync(join(root, "bin/noise"), 0o755);
          const options = specOf(args, { process: { env: ["PATH=/sbin:/bin:/usr/bin"] } });
          const task = await runtime.create(options);
          await assert.rejects(task.start(), (error: unknown) => {
            assert.equal(codeOf(error), wanted, String(error));
            assert.equal((error as { details?: { exitCode?: number } }).details?.exitCode, exitCode);
            return true;
          });
          assert.equal(await task.delete(), undefined);
        });
      }

      it("are looked for in every folder of PATH", async () => {
        const env = ["PATH=/nowhere:/etc:/bin"];
        assert.equal((await run(specOf(["echo", "found"], { process: { env } }))).stdout, "found\n");
      });
    });

    describe("specs that cannot be", () => {
      const table: readonly (readonly [field: string, changes: Changes, code: ErrorCode])[] = [
        ["CAP_NONE", { process: { capabilities: { bounding: ["CAP_NONE"] } } }, "invalid_argument"],
        ["RLIMIT_NONE", { process: { rlimits: [{ type: "RLIMIT_NONE", soft: 1, hard: 1 }] } }, "invalid_argument"],
        ["RLIMIT_CORE", { process: { rlimits: [{ type: "RLIMIT_CORE", soft: 2, hard: 1 }] } }, "invalid_argument"],
        ["kernel.panic", { linux: { sysctl: { "kernel.panic": "1" } } }, "invalid_argument"],
        ["mount namespace", { linux: { namespaces: [{ type: "pid" }] } }, "invalid_argument"],
        ["hostname", { linux: { namespaces: [{ type: "mount" }] }, spec: { mounts: [] } }, "invalid_argument"],
        ["/no/such/source", {
          spec: { mounts: [{ destination: "/x", type: "bind", source: "/no/such/source" }] },
        }, "invalid_argument"],
        ["cgroupsPath", { linux: { cgroupsPath: "/../x" } }, "invalid_argument"],
      ];
      for (const [field, changes, wanted] of table) {
        it(`create() names ${field}`, async () => {
          await assert.rejects(runtime.create(sh("true", changes)), (error: unknown) => {
            assert.equal(codeOf(error), wanted, String(error));
            assert.ok(String(error).includes(field), String(error));
            return true;
          });
        });
      }
    });

    it("leaves nothing behind", async () => {
      assert.deepEqual(runtime.tasks(), []);
      assert.deepEqual(test.leftovers(), []);
      const mine = readFileSync("/proc/self/mounts", "utf8").split("\n").filter((line) => line.includes(folder));
      assert.deepEqual(mine, []);
      assert.deepEqual(zombies(), []);
    });
  });
}

const code = (wanted: ErrorCode) => (error: unknown) => {
  assert.equal(codeOf(error), wanted, String(error));
  return true;
};

function text(stream: Task["stdout"]): Promise<string> {
  return stream === undefined ? Promise.resolve("") : new Response(stream).text();
}

async function hostLinks(types: readonly string[]): Promise<string[]> {
  const { readlink } = await import("node:fs/promises");
  return Promise.all(types.map((type) => readlink(`/proc/self/ns/${type}`)));
}

/** Children of this process that have ended and were not reaped. */
function zombies(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
      return stat[0] === "Z" && stat[1] === String(process.pid);
    } catch {
      return false;
    }
  });
}
