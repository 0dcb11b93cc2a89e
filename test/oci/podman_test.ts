import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { currentHost } from "../../src/host/mod.ts";
import { removeCgroups } from "../runtimes/native_runtime.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";

const { name: host } = await currentHost();
const runtime = fileURLToPath(new URL("../../src/mayfly-oci", import.meta.url));
const image = "localhost/box:1";

const cgroupParent = `/mayfly-test-${process.pid}-podman`;

/** What every container here gets: this machine may have fewer rights than podman's defaults ask for. */
const settings = [
  "--cgroups=no-conmon",
  `--cgroup-parent=${cgroupParent}`,
  "--network=none",
  "--cgroupns=private",
  "--ulimit=nofile=512:512",
  "--ulimit=nproc=512:512",
];

describe(
  `podman --runtime src/mayfly-oci on ${host}`,
  { skip: process.geteuid?.() === 0 ? false : "it takes root" },
  () => {
    let folder: string;

    before(() => {
      // Its name becomes part of an image's name, which has no capitals.
      folder = join(tmpdir(), `mayfly-podman-${process.pid}`);
      mkdirSync(folder);
      const layout = makeBusyboxImage(folder, "box:1");
      podman("pull", "--quiet", `oci:${layout}:box:1`);
      podman("tag", podman("images", "--quiet").stdout.trim(), image);
    });

    after(() => {
      podman("rm", "--all", "--force");
      podman("rmi", "--all", "--force");
      removeCgroups(cgroupParent);
      assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(folder));
      assert.deepEqual(readdirSync("/run/mayfly-oci").filter((each) => !each.startsWith(".")), []);
      rmSync(folder, { recursive: true, force: true });
    });

    function base(): string[] {
      return [
        ...["--root", join(folder, "storage"), "--runroot", join(folder, "run"), "--tmpdir", join(folder, "tmp")],
        ...["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file", "--log-level=error"],
        ...["--runtime", runtime],
      ];
    }

    function podman(...args: readonly string[]) {
      return run("podman", [...base(), ...args]);
    }

    /** In a terminal of its own. */
    function inTerminal(...args: readonly string[]) {
      const command = ["podman", ...base(), ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
      return run("script", ["--quiet", "--return", "--command", command, "/dev/null"]);
    }

    function run(program: string, args: readonly string[], input = "") {
      const { status, stdout, stderr } = spawnSync(program, args, {
        encoding: "utf8",
        input,
        env: { ...process.env, MAYFLY_HOST: host },
        timeout: 60_000,
      });
      return { status, stdout, stderr };
    }

    it("runs a container of an image", () => {
      const ran = podman("run", "--rm", ...settings, image, "sh", "-c", "echo out; echo err >&2; exit 7");
      assert.deepEqual([ran.status, ran.stdout, ran.stderr], [7, "out\n", "err\n"]);
      const fed = run("podman", [...base(), "run", "--rm", "-i", ...settings, image, "cat"], "hello");
      assert.equal(fed.stdout, "hello", fed.stderr);
    });

    it("runs one in a terminal", () => {
      const { status, stdout } = inTerminal(
        "run",
        "--rm",
        "-t",
        ...settings,
        image,
        "sh",
        "-c",
        "test -t 0 && echo is one; exit 3",
      );
      assert.deepEqual([status, stdout], [3, "is one\r\n"]);
    });

    it("limits one", () => {
      const script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || " +
        "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max";
      const ran = podman("run", "--rm", "--memory=64m", "--pids-limit=33", ...settings, image, "sh", "-c", script);
      assert.equal(ran.stdout, `33\n${64 << 20}\n`, ran.stderr);
    });

    it("has every verb of a container that lives on", () => {
      const script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
      const started = podman("run", "--detach", "--name=one", ...settings, image, "sh", "-c", script);
      assert.equal(started.status, 0, started.stderr);
      assert.match(podman("ps", "--format={{.Names}} {{.Status}}").stdout, /^one Up/);
      const executed = podman("exec", "one", "sh", "-c", "echo beside; exit 4");
      assert.deepEqual([executed.status, executed.stdout], [4, "beside\n"], executed.stderr);
      assert.equal(inTerminal("exec", "-t", "one", "sh", "-c", "test -t 1 && echo is one").stdout, "is one\r\n");
      assert.equal(podman("pause", "one").status, 0);
      assert.match(podman("ps", "--all", "--format={{.Status}}").stdout, /^Paused/);
      assert.equal(podman("unpause", "one").status, 0);
      assert.match(podman("top", "one").stdout, /sh -c trap/);
      assert.match(podman("logs", "one").stdout, /ready/);
      assert.equal(podman("stop", "--time=10", "one").status, 0);
      assert.equal(podman("inspect", "--format={{.State.ExitCode}} {{.State.Status}}", "one").stdout, "5 exited\n");
      assert.equal(podman("start", "one").status, 0);
      assert.equal(podman("kill", "one").status, 0);
      assert.equal(podman("wait", "one").stdout, "137\n");
      assert.equal(podman("rm", "one").status, 0);
    });
  },
);
