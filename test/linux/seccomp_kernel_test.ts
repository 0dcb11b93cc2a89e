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
const CLD_KILLED = 2;
const CLD_DUMPED = 3;
const SIGSYS = 31;
const EPERM = 1;
const ENOSYS = 38;

/** The kernel takes what is compiled, and answers as the profile says. */
describe("compileSeccomp() in the kernel", () => {
  let kernel: Kernel;
  before(async () => {
    kernel = new Kernel(await currentHost());
  });

  /** Makes one call behind the filter. @returns its result, told as the exit status of a child (modulo 256), or its signal. */
  function behind(seccomp: Seccomp, call: Pick<Operation, "syscall" | "args">): { exit: number } | { signal: number } {
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
    const [code, status] = [view.getInt32(8, true), view.getInt32(24, true)];
    return code === CLD_KILLED || code === CLD_DUMPED ? { signal: status } : { exit: status };
  }

  const profile = defaultSeccomp(defaultCapabilities);
  const socket = (family: number) => ({ syscall: "socket", args: [family, 1, 0] }) as const;

  it("allows, refuses and pretends as the default profile says", () => {
    assert.deepEqual(behind(profile, { syscall: "umask", args: [0o22] }), { exit: currentUmask() });
    assert.deepEqual(behind(profile, { syscall: "unshare", args: [CLONE_NEWUTS] }), { exit: 256 - EPERM });
    assert.deepEqual(behind(profile, { syscall: "clone", args: [CLONE_NEWUTS, 0, 0, 0, 0] }), { exit: 256 - EPERM });
    assert.deepEqual(behind(profile, { syscall: "clone3", args: [0, 0] }), { exit: 256 - ENOSYS });
    assert.deepEqual(behind(profile, { syscall: "io_uring_setup", args: [1, 0] }), { exit: 256 - ENOSYS });
    assert.deepEqual(behind(profile, { syscall: "personality", args: [0x40_0000] }), { exit: 256 - EPERM });
    assert.deepEqual(behind(profile, socket(40)), { exit: 256 - EPERM });
    const family = behind(profile, { syscall: "socket", args: [2n ** 32n + 40n, 1, 0] });
    assert.deepEqual(family, { exit: 256 - EPERM }, "AF_VSOCK with higher bits set");
    const unix = behind(profile, socket(1));
    assert.ok("exit" in unix && unix.exit < 128, "AF_UNIX gives a descriptor");
  });

  it("kills", () => {
    const killing: Seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["getpid"], action: "SCMP_ACT_KILL_PROCESS" }],
    };
    assert.deepEqual(behind(killing, { syscall: "getpid", args: [] }), { signal: SIGSYS });
    const other = behind(killing, { syscall: "getppid", args: [] });
    assert.ok("exit" in other);
  });

  /** `umask` answers with the one before. */
  function currentUmask(): number {
    const before = kernel.call("umask", 0o22);
    kernel.call("umask", before);
    return before;
  }
});
