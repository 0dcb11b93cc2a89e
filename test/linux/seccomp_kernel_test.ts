import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import type { Seccomp } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { P_PIDFD, WEXITED } from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import type { Operation } from "../../src/linux/program.ts";
import { compileSeccomp } from "../../src/linux/seccomp.ts";
import { defaultCapabilities } from "../../src/tasks/capabilities.ts";
import { defaultSeccomp } from "../../src/tasks/seccomp_profile.ts";

const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;
const CLONE_NEWUTS = 0x0400_0000;
const EPERM = 1;
const ENOSYS = 38;

/** The kernel takes what is compiled, and answers as the profile says. */
describe("compileSeccomp() in the kernel", () => {
  let kernel: Kernel;
  before(async () => {
    kernel = new Kernel(await currentHost());
  });

  /** Makes one call behind the filter. @returns its result modulo 256, told as the exit status of a child. */
  function behind(seccomp: Seccomp, call: Pick<Operation, "syscall" | "args">): number {
    const filter = compileSeccomp(seccomp, kernel.host.arch);
    const { pidfd } = kernel.spawn([
      { syscall: "prctl", args: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0], why: "give up new privileges" },
      {
        syscall: "seccomp",
        args: [SECCOMP_SET_MODE_FILTER, 0, [filter.length / 8, filter]],
        why: "load the filter",
      },
      { ...call, why: "make the call", store: "result", onError: "ignore" },
      { syscall: "exit", args: [{ ref: "result" }], why: "tell the result" },
    ]);
    const info = kernel.buffer(128);
    kernel.call("waitid", P_PIDFD, pidfd, info.address, WEXITED, 0);
    kernel.call("close", pidfd);
    const view = new DataView(info.bytes.buffer, info.bytes.byteOffset, 128);
    return view.getInt32(24, true);
  }

  const profile = defaultSeccomp(defaultCapabilities);
  const socket = (family: number) => ({ syscall: "socket", args: [family, 1, 0] }) as const;

  it("allows, refuses and pretends as the default profile says", () => {
    assert.equal(behind(profile, { syscall: "umask", args: [0o22] }), currentUmask());
    assert.equal(behind(profile, { syscall: "unshare", args: [CLONE_NEWUTS] }), 256 - EPERM);
    assert.equal(behind(profile, { syscall: "clone", args: [CLONE_NEWUTS, 0, 0, 0, 0] }), 256 - EPERM);
    assert.equal(behind(profile, { syscall: "clone3", args: [0, 0] }), 256 - ENOSYS);
    assert.equal(behind(profile, { syscall: "io_uring_setup", args: [1, 0] }), 256 - ENOSYS);
    assert.equal(behind(profile, { syscall: "personality", args: [0x40_0000] }), 256 - EPERM);
    assert.equal(behind(profile, socket(40)), 256 - EPERM);
    const family = behind(profile, { syscall: "socket", args: [2n ** 32n + 40n, 1, 0] });
    assert.equal(family, 256 - EPERM, "AF_VSOCK with higher bits set");
    assert.ok(behind(profile, socket(1)) < 128, "AF_UNIX gives a descriptor");
  });

  it("kills", () => {
    const killing: Seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["getpid"], action: "SCMP_ACT_KILL_PROCESS" }],
    };
    assert.throws(() => behind(killing, { syscall: "getpid", args: [] }), { code: "aborted", syscall: "getpid" });
    assert.equal(behind(killing, { syscall: "geteuid", args: [] }), kernel.call("geteuid") & 0xff);
  });

  /** `umask` answers with the one before. */
  function currentUmask(): number {
    const before = kernel.call("umask", 0o22);
    kernel.call("umask", before);
    return before;
  }
});
