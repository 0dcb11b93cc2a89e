import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { Spec } from "../../src/core/spec.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { sameHost } from "../support/same_host.ts";
import { until } from "../support/until.ts";
import { cgroupsOf, removeCgroups, specFor } from "../runtimes/native_runtime.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const cgroupParent = `/mayfly-test-${process.pid}-cli`;

describe("mayfly oci", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  let folder: string;
  let root: string;
  let program: readonly string[];
  let count = 0;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-oci-"));
    root = join(folder, "state");
    program = [...await sameHost(main), "oci"];
  });

  after(() => {
    for (const id of oci("list", "-q").stdout.split("\n").filter((line) => line !== "")) oci("delete", "-f", id);
    assert.deepEqual(cgroupsOf(cgroupParent), []);
    assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(folder));
    removeCgroups(cgroupParent);
    rmSync(folder, { recursive: true });
  });

  function oci(...args: readonly string[]) {
    return ociWith({}, ...args);
  }

  function ociWith(options: { readonly input?: string; readonly cwd?: string }, ...args: readonly string[]) {
    const [command = "", ...first] = program;
    const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, "compiled") };
    const { status, stdout, stderr } = spawnSync(command, [...first, "--root", root, ...args], {
      encoding: "utf8",
      env,
      input: "",
      ...options,
    });
    return { status, stdout, stderr };
  }

  /** For commands that leave a process behind, which keeps what it got of their streams. */
  const leaves = (...args: readonly string[]) => {
    const [command = "", ...first] = program;
    const log = join(folder, `log-${count++}`);
    const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, "compiled") };
    const ran = spawnSync(command, [...first, "--root", root, "--log", log, ...args], { stdio: "ignore", env });
    assert.equal(ran.status, 0, `${args.join(" ")}: ${existsSync(log) ? readFileSync(log, "utf8") : ""}`);
  };

  const ok = (...args: readonly string[]) => {
    const { status, stdout, stderr } = oci(...args);
    assert.equal(status, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  };

  const fails = (code: string, words: RegExp, ...args: readonly string[]) => {
    const log = join(folder, `log-${count++}`);
    const { status, stderr } = oci("--log", log, "--log-format", "json", ...args);
    assert.notEqual(status, 0, args.join(" "));
    const entry = JSON.parse(readFileSync(log, "utf8").trim().split("\n").at(-1) ?? "{}");
    assert.deepEqual([entry.level, entry.code], ["error", code], stderr);
    assert.match(entry.msg, words);
    assert.match(stderr, words);
    assert.ok(!Number.isNaN(Date.parse(entry.time)));
  };

  /** A bundle around a command. */
  function bundle(args: readonly string[], change: (spec: Spec) => object = (spec) => spec): string {
    const path = join(folder, `bundle-${count++}`);
    makeBusyboxRoot(join(path, "rootfs"));
    const spec = specFor(args);
    const changed = {
      ...spec,
      root: { path: "rootfs" },
      linux: { ...spec.linux, cgroupsPath: `${cgroupParent}/${count}` },
    };
    writeFileSync(join(path, "config.json"), JSON.stringify(change(changed)));
    return path;
  }

  const withArgs = (args: readonly string[]) => (spec: Spec) => ({ ...spec, process: { ...spec.process, args } });

  const status = (id: string) => JSON.parse(ok("state", id)).status;
  const stopped = (id: string) => until(() => Promise.resolve(status(id) === "stopped"));

  it("goes created, running, stopped, gone, one command each", async () => {
    const path = bundle(["sh", "-c", "echo ran > /out; exec sleep 60"]);
    const pidFile = join(folder, "pid");
    leaves("create", "--bundle", path, "--pid-file", pidFile, "a");
    const state = JSON.parse(ok("state", "a"));
    assert.deepEqual(
      [state.ociVersion, state.id, state.status, state.bundle, state.rootfs],
      ["1.0.2", "a", "created", path, join(path, "rootfs")],
    );
    assert.equal(String(state.pid), readFileSync(pidFile, "utf8"));
    assert.ok(existsSync(`/proc/${state.pid}`));
    assert.ok(!existsSync(join(path, "rootfs/out")));
    ok("start", "a");
    await until(() => Promise.resolve(existsSync(join(path, "rootfs/out"))));
    assert.equal(status("a"), "running");
    assert.deepEqual(JSON.parse(ok("ps", "--format", "json", "a")), [state.pid]);
    assert.match(ok("ps", "a"), new RegExp(`PID[^]*\\b${state.pid}\\b[^]*sleep 60`));
    assert.deepEqual(JSON.parse(ok("list", "--format", "json")).map(({ id }: { id: string }) => id), ["a"]);
    assert.match(ok("list"), /^ID +PID +STATUS[^]*\na +\d+ +running/);
    ok("kill", "a", "KILL");
    await stopped("a");
    assert.equal(JSON.parse(ok("state", "a")).pid, 0);
    ok("delete", "a");
    assert.deepEqual(readdirSync(root), []);
    fails("not_found", /does not exist/, "state", "a");
  });

  it("run has the caller's streams, and the command's exit status", () => {
    const path = bundle(["sh", "-c", "cat; echo error >&2; exit 7"]);
    const ran = ociWith({ input: "hello" }, "run", "--bundle", path, "b");
    assert.deepEqual([ran.status, ran.stdout, ran.stderr], [7, "hello", "error\n"]);
    const here = ociWith({ input: "x", cwd: path }, "run", "b");
    assert.equal(here.stdout, "x");
    const killed = oci("run", "--bundle", bundle(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]), "b");
    assert.equal(killed.status, 137);
    const missing = oci("run", "--bundle", bundle(["/nonesuch"]), "b");
    assert.deepEqual([missing.status, oci("list", "-q").stdout], [127, ""]);
  });

  it("exec runs beside it", async () => {
    leaves("create", "--bundle", bundle(["sleep", "60"]), "c");
    fails("failed_precondition", /it is created/, "exec", "c", "true");
    ok("start", "c");
    const script = "pwd; echo $A; id -u; cat; exit 5";
    const ran = ociWith(
      { input: "in" },
      "exec",
      "--cwd",
      "/tmp",
      "-e",
      "A=b",
      "--user",
      "7:8",
      "c",
      "sh",
      "-c",
      script,
    );
    assert.deepEqual([ran.status, ran.stdout], [5, "/tmp\nb\n7\nin"], ran.stderr);
    const file = join(folder, "process.json");
    writeFileSync(file, JSON.stringify({ ...specFor(["sleep", "60"]).process, env: ["PATH=/bin"] }));
    const pidFile = join(folder, "exec-pid");
    leaves("exec", "--process", file, "--detach", "--pid-file", pidFile, "c");
    assert.equal(JSON.parse(ok("ps", "--format", "json", "c")).length, 2);
    fails("not_found", /nonesuch/, "exec", "c", "/nonesuch");
    assert.equal(oci("exec", "c", "/nonesuch").status, 127);
    ok("pause", "c");
    assert.equal(status("c"), "paused");
    fails("failed_precondition", /it is paused/, "exec", "c", "true");
    fails("failed_precondition", /it is paused/, "pause", "c");
    ok("resume", "c");
    assert.equal(status("c"), "running");
    ok("delete", "--force", "c");
    const pid = readFileSync(pidFile, "utf8");
    await until(() =>
      Promise.resolve(!existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")))
    );
  });

  it("hands on descriptors that are to be preserved", () => {
    const path = bundle(["sh", "-c", "cat <&3"]);
    const [command = "", ...first] = program;
    const kept = spawnSync("sh", [
      "-c",
      'exec 3< "$0"; exec "$@"',
      join(path, "config.json"),
      command,
      ...first,
      ...["--root", root, "run", "--preserve-fds", "1", "--bundle", path, "p"],
    ], { encoding: "utf8", input: "" });
    assert.equal(kept.stdout, readFileSync(join(path, "config.json"), "utf8"), kept.stderr);
  });

  it("update and events tell of limits", () => {
    const path = bundle(["sleep", "60"], (spec) => ({
      ...spec,
      linux: { ...spec.linux, resources: { memory: { limit: 64 << 20, swap: 64 << 20 }, pids: { limit: 10 } } },
    }));
    leaves("run", "--detach", "--bundle", path, "d");
    ok("update", "--pids-limit", "20", "d");
    ociWith({ input: JSON.stringify({ memory: { limit: 96 << 20, swap: 96 << 20 } }) }, "update", "-r", "-", "d");
    const script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || " +
      "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max";
    assert.equal(ok("exec", "d", "sh", "-c", script), `20\n${96 << 20}\n`);
    const { type, id, data } = JSON.parse(ok("events", "--stats", "d"));
    assert.deepEqual([type, id, data.pids.current], ["stats", "d", 1]);
    assert.ok(data.memory.usage.usage > 0);
    fails("invalid_argument", /pids-limit/, "update", "--pids-limit", "x", "d");
    ok("delete", "-f", "d");
  });

  it("kill takes names, numbers, and all", async () => {
    const trap = "trap 'exit 3' TERM; echo ready > /ready; while :; do sleep 0.01; done";
    const path = bundle(["sh", "-c", trap]);
    leaves("run", "-d", "--bundle", path, "k");
    await until(() => Promise.resolve(existsSync(join(path, "rootfs/ready"))));
    fails("invalid_argument", /signal/, "kill", "k", "NONE");
    ok("kill", "--all", "k", "SIGCONT");
    ok("kill", "k");
    await stopped("k");
    fails("failed_precondition", /container not running/, "kill", "k", "9");
    ok("delete", "k");
  });

  it("refuses what cannot be, and leaves nothing", () => {
    const path = bundle(["sleep", "60"]);
    leaves("create", "--bundle", path, "e");
    fails("already_exists", /exists/, "create", "--bundle", path, "e");
    for (const id of ["../x", "a/b", "", ".."]) fails("invalid_argument", /id/, "create", "--bundle", path, id);
    for (const id of ["../e", "a/b", "", "none"]) fails("not_found", /does not exist/, "state", id);
    ok("start", "e");
    fails("failed_precondition", /it is running/, "start", "e");
    fails("failed_precondition", /not stopped/, "delete", "e");
    ok("delete", "--force", "e");
    ok("delete", "--force", "e");
    fails("not_found", /does not exist/, "delete", "e");
    fails("not_found", /config\.json/, "create", "--bundle", join(folder, "none"), "f");
    const noRoot = bundle(["true"]);
    rmSync(join(noRoot, "rootfs"), { recursive: true });
    fails("not_found", /root filesystem/, "create", "--bundle", noRoot, "f");
    const noJson = bundle(["true"]);
    writeFileSync(join(noJson, "config.json"), "{");
    fails("invalid_argument", /no JSON/, "create", "--bundle", noJson, "f");
    fails("invalid_argument", /args/, "create", "--bundle", bundle(["true"], withArgs([])), "f");
    fails("invalid_argument", /unknown flag/, "create", "--none", "f");
    fails("invalid_argument", /wrong number/, "create");
    fails("invalid_argument", /unknown command/, "none");
    const terminal = bundle(["true"], (spec) => ({ ...spec, process: { ...spec.process, terminal: true } }));
    fails("invalid_argument", /console-socket/, "create", "--bundle", terminal, "f");
  });

  it("deletes a container whose bundle has vanished", async () => {
    const path = bundle(["sleep", "60"]);
    leaves("run", "-d", "--bundle", path, "g");
    rmSync(join(path, "config.json"));
    assert.equal(status("g"), "running");
    ok("kill", "g", "9");
    await stopped("g");
    ok("delete", "g");
  });

  it("spec writes a configuration that runs", () => {
    const path = join(folder, "spec");
    mkdirSync(path);
    makeBusyboxRoot(join(path, "rootfs"));
    ok("spec", "--bundle", path);
    fails("already_exists", /config\.json/, "spec", "--bundle", path);
    const spec = JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
    const cgroupsPath = `${cgroupParent}/spec`;
    const env = ["PATH=/bin"];
    const changed = {
      ...spec,
      process: { ...spec.process, terminal: false, env, args: ["echo", "it runs"] },
      linux: { ...spec.linux, cgroupsPath },
    };
    writeFileSync(join(path, "config.json"), JSON.stringify(changed));
    assert.equal(ok("run", "--bundle", path, "s"), "it runs\n");
  });

  it("features tells what it can do", () => {
    const features = JSON.parse(ok("features"));
    for (const option of ["rbind", "idmap", "ridmap"]) assert.ok(features.mountOptions.includes(option), option);
    assert.equal(features.linux.mountExtensions.idmap.enabled, true);
    assert.ok(features.linux.capabilities.includes("CAP_SYS_ADMIN"));
    assert.ok(features.linux.namespaces.includes("pid"));
  });

  it("takes global flags as runc does", () => {
    assert.match(oci("--version").stdout, /^mayfly version .*\nspec: 1\./);
    assert.match(oci("--help").stdout, /create +make a container/);
    assert.match(oci("exec", "--help").stdout, /--process/);
    ok("--debug", "--log", join(folder, "debug"), "--systemd-cgroup", "--criu", "x", "--rootless=auto", "list");
    assert.match(readFileSync(join(folder, "debug"), "utf8"), /level=debug msg="list/);
  });

  it("a container outlives the command that made it, and who called that", async () => {
    const path = bundle(["sleep", "60"]);
    const [command = "", ...first] = program;
    const caller = spawn("sh", [
      "-c",
      '"$@"; exit 0',
      "sh",
      command,
      ...first,
      "--root",
      root,
      "run",
      "-d",
      "--bundle",
      path,
      "o",
    ], {
      stdio: "ignore",
    });
    await new Promise((resolve) => caller.once("exit", resolve));
    assert.equal(status("o"), "running");
    ok("delete", "--force", "o");
  });
});
