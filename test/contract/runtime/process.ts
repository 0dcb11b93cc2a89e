import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Fixture } from "./fixture.ts";

/** What a command finds around it. */
export function processes(f: Fixture): void {
  const { it, specOf, run, output } = f;
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
}
