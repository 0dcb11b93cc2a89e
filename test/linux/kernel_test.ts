import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, it } from "node:test";
import { Failure } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { errno } from "../../src/linux/errno.ts";
import {
  AF_UNIX,
  AT_FDCWD,
  F_GETFD,
  FD_CLOEXEC,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  RESOLVE_NO_SYMLINKS,
  SIGWINCH,
  SO_RCVTIMEO,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { pipe } from "../../src/linux/pipe.ts";
import type { Argument, Program } from "../../src/linux/program.ts";
import type { SyscallName } from "../../src/linux/syscalls.ts";

const kernel = new Kernel(await currentHost());
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const descriptors = () => readdirSync("/proc/self/fd").length;

describe("Kernel.call()", () => {
  it("returns the result", () => {
    assert.equal(kernel.call("getpid"), kernel.host.pid);
  });

  it("passes negative numbers, 64 bits and addresses", () => {
    const fd = kernel.call("memfd_create", "wide", 1);
    assert.equal(kernel.call("lseek", fd, 2 ** 40 + 5, 0), 2 ** 40 + 5);
    assert.equal(kernel.call("lseek", fd, -5, 1), 2 ** 40);
    assert.equal(kernel.call("lseek", fd, 0x1_8000_0001n, 0), 0x1_8000_0001);
    assert.equal(kernel.attempt("lseek", fd, -(2 ** 40), 0), -errno.EINVAL);
    kernel.call("close", fd);
  });

  it("fills buffers that the caller keeps", () => {
    const name = kernel.buffer(390);
    kernel.call("uname", name.address);
    assert.equal(text(name.bytes.subarray(0, 5)), "Linux");
  });

  it("copies strings beyond ASCII as UTF-8", () => {
    const { read, write } = pipe(kernel);
    const got = kernel.buffer(32);
    assert.equal(kernel.call("write", write, "aé€😀", 10), 10);
    kernel.call("read", read, got.address, 32);
    assert.equal(text(got.bytes.subarray(0, 10)), "aé€😀");
    kernel.call("close", read);
    kernel.call("close", write);
  });

  it("passes arrays as words", () => {
    const how = [O_RDONLY | O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS];
    const fd = kernel.call("openat2", AT_FDCWD, "/proc", how, 24);
    kernel.call("close", fd);
    assert.equal(kernel.attempt("openat2", AT_FDCWD, "/proc/self", how, 24), -errno.ELOOP);
  });

  it("takes bytes larger than its memory", () => {
    const fd = kernel.call("memfd_create", "large", 1);
    const large = new Uint8Array(1_000_000).fill(7);
    assert.equal(kernel.call("write", fd, large, large.length), large.length);
    assert.equal(kernel.call("lseek", fd, 0, 2), large.length);
    kernel.call("close", fd);
    const most = new Uint8Array(70_000_000);
    assert.throws(() => kernel.call("write", -1, most, most.length), { code: "resource_exhausted" });
    assert.equal(kernel.call("getpid"), kernel.host.pid);
  });

  const failures: [name: SyscallName, args: Argument[], code: string, errno: string][] = [
    ["openat", [AT_FDCWD, "/no/such", 0], "not_found", "ENOENT"],
    ["mkdirat", [AT_FDCWD, "/proc", 0o700], "already_exists", "EEXIST"],
    ["openat", [AT_FDCWD, "/proc/self/status", O_DIRECTORY], "internal", "ENOTDIR"],
    ["prctl", [-1], "invalid_argument", "EINVAL"],
    ["close", [-1], "internal", "EBADF"],
    ["kill", [0x7fff_ffff, 0], "not_found", "ESRCH"],
  ];
  for (const [name, args, code, errnoName] of failures) {
    it(`throws ${code} for ${errnoName}`, () => {
      assert.throws(() => kernel.call(name, ...args), { code, errno: errnoName, syscall: name });
    });
  }

  it("says what it called", () => {
    assert.throws(() => kernel.call("openat", AT_FDCWD, "/no/such", O_CLOEXEC), {
      message: 'openat(-100, "/no/such", 0x80000): no such file or directory',
    });
  });

  it("keeps what it writes to itself", () => {
    assert.throws(() => kernel.call("write", -1, "secret", 6), {
      message: "write(-1, <6 characters>, 6): bad file descriptor",
    });
  });

  it("refuses what it cannot pass on as it is", () => {
    const bad: Argument[] = ["a\0b", "é\0b", 0.5, NaN, 2 ** 53, { ref: "x" }, { hole: "x" }];
    for (const argument of bad) assert.throws(() => kernel.call("chdir", argument), { code: "invalid_argument" });
  });
});

describe("Kernel.run()", () => {
  it("passes results and words of buffers on", () => {
    const before = descriptors();
    const results = kernel.run([
      { syscall: "pipe2", args: [{ out: "ends", size: 8 }, O_CLOEXEC], why: "make a pipe" },
      { syscall: "write", args: [{ ref: "ends", at: 4 }, "hello", 5], store: "length", why: "write" },
      { syscall: "read", args: [{ ref: "ends" }, { out: "text", size: 9 }, { ref: "length" }], why: "read" },
      { syscall: "close", args: [{ ref: "ends" }], why: "close" },
      { syscall: "close", args: [{ ref: "ends", at: 4 }], why: "close" },
    ]);
    assert.equal(results.get("length"), 5);
    assert.equal(text(results.bytes("text")), "hello\0\0\0\0");
    assert.equal(results.last, 0);
    assert.equal(descriptors(), before);
  });

  it("carries results into arrays", () => {
    const results = kernel.run([
      { syscall: "pipe2", args: [{ out: "ends", size: 8 }, O_CLOEXEC], why: "make a pipe" },
      { syscall: "write", args: [{ ref: "ends", at: 4 }, "abcdef", 6], store: "six", why: "write" },
      {
        syscall: "readv",
        args: [{ ref: "ends" }, [{ out: "first", size: 2 }, 2, { out: "rest", size: 6 }, { ref: "six" }], 2],
        store: "got",
        why: "read",
      },
      { syscall: "close", args: [{ ref: "ends" }], why: "close" },
      { syscall: "close", args: [{ ref: "ends", at: 4 }], why: "close" },
    ]);
    assert.equal(results.get("got"), 6);
    assert.equal(text(results.bytes("first")) + text(results.bytes("rest")), "abcdef\0\0");
  });

  it("gives a name the same memory twice, and its first bytes", () => {
    const path = new TextEncoder().encode("/proc\0");
    const results = kernel.run([
      { syscall: "access", args: [{ out: "path", size: 10, initial: path }, 0], store: "found", why: "look" },
      { syscall: "getcwd", args: [{ out: "path", size: 10 }, 10], onError: "ignore", why: "overwrite" },
    ]);
    assert.equal(results.get("found"), 0);
  });

  it("names the step that failed", () => {
    const program: Program = [
      { syscall: "getpid", args: [], why: "ask" },
      { syscall: "chdir", args: ["/no/such"], why: 'enter "/no/such"' },
      { syscall: "exit_group", args: [9], why: "never come here" },
    ];
    assert.throws(() => kernel.run(program), (error) => {
      assert(error instanceof Failure);
      assert.equal(error.message, 'enter "/no/such": no such file or directory');
      assert.equal(error.code, "not_found");
      assert.equal(error.syscall, "chdir");
      assert.equal(error.errno, "ENOENT");
      assert.deepEqual(error.details, { step: 1 });
      return true;
    });
  });

  it("names the step that failed behind arrays with results", () => {
    const program: Program = [
      { syscall: "getpid", args: [], store: "pid", why: "ask" },
      { syscall: "writev", args: [-1, [{ ref: "pid" }, { ref: "pid" }], 1], why: "write to nothing" },
    ];
    assert.throws(() => kernel.run(program), {
      message: "write to nothing: bad file descriptor",
      details: { step: 1 },
    });
  });

  it("goes on after errors that are no matter, and keeps them", () => {
    const results = kernel.run([
      { syscall: "close", args: [-1], onError: "ignore", store: "closed", why: "close nothing" },
      { syscall: "getpid", args: [], store: "pid", why: "ask" },
    ]);
    assert.equal(results.get("closed"), -errno.EBADF);
    assert.equal(results.get("pid"), kernel.host.pid);
  });

  /** Which of three calls a jump of the first reaches. */
  const reached = (first: Program[number]) => {
    const results = kernel.run([
      first,
      { syscall: "getpid", args: [], store: "next", why: "next", onNonZero: { goto: "end" } },
      { syscall: "getpid", args: [], store: "target", label: "target", why: "target" },
    ]);
    return (["next", "target"] as const).filter((name) => results.get(name) !== 0).join();
  };
  const fails = { syscall: "close", args: [-1], why: "fail" } as const;
  const zero = { syscall: "access", args: ["/", 0], why: "zero" } as const;
  const positive = { syscall: "getpid", args: [], why: "above zero" } as const;
  const target = { goto: "target" };
  const jumps: [what: string, first: Program[number], reached: string][] = [
    ["an error, on error", { ...fails, onError: target }, "target"],
    ["zero, on error", { ...zero, onError: target }, "next"],
    ["zero, on zero", { ...zero, onZero: target }, "target"],
    ["zero, on non-zero", { ...zero, onNonZero: target }, "next"],
    ["above zero, on zero", { ...positive, onZero: target }, "next"],
    ["above zero, on non-zero", { ...positive, onNonZero: target }, "target"],
    ["an ignored error, on zero and non-zero", {
      ...fails,
      onError: "ignore",
      onZero: target,
      onNonZero: target,
    }, "next"],
    ["zero, to the end", { ...zero, onZero: { goto: "end" } }, ""],
  ];
  for (const [what, first, wanted] of jumps) {
    it(`jumps: ${what}`, () => assert.equal(reached(first), wanted));
  }

  it("jumps back", () => {
    const { read, write } = pipe(kernel);
    kernel.call("write", write, "abc", 3);
    kernel.call("close", write);
    const results = kernel.run([
      {
        syscall: "read",
        args: [read, { out: "byte", size: 1 }, 1],
        label: "loop",
        onZero: { goto: "end" },
        why: "take",
      },
      { syscall: "getpid", args: [], onNonZero: { goto: "loop" }, why: "go back" },
    ]);
    assert.equal(results.last, 0);
    assert.equal(text(results.bytes("byte")), "c");
    kernel.call("close", read);
  });

  it("jumps to a step whose array takes results, and from one", () => {
    const array = { syscall: "writev", args: [-1, [{ ref: "pid" }, { ref: "pid" }], 1], why: "fail" } as const;
    const results = kernel.run([
      { syscall: "getpid", args: [], store: "pid", onNonZero: { goto: "array" }, why: "ask" },
      { syscall: "getpid", args: [], store: "skipped", why: "be skipped" },
      { ...array, store: "written", label: "array", onError: { goto: "last" } },
      { syscall: "getpid", args: [], store: "skipped", why: "be skipped" },
      { syscall: "getuid", args: [], label: "last", why: "end" },
    ]);
    assert.equal(results.get("written"), -errno.EBADF);
    assert.equal(results.get("skipped"), 0);
  });

  const wrong: [what: string, program: Program, message: RegExp][] = [
    ["a name that nothing stores", [{ ...zero, args: [{ ref: "x" }] }], /nothing before it stores "x"/],
    ["a label that is not there", [{ ...zero, onZero: { goto: "x" } }], /no label "x"/],
    ["a label twice", [{ ...zero, label: "x", onZero: { goto: "x" } }, { ...zero, label: "x" }], /"x" is taken/],
    ["a jump to itself", [{ ...zero, label: "x", onZero: { goto: "x" } }], /cannot jump to itself/],
    ["seven arguments", [{ ...zero, args: [1, 2, 3, 4, 5, 6, 7] }], /six arguments at most/],
    ["a word behind a buffer", [
      { ...zero, args: [{ out: "x", size: 8 }] },
      { ...zero, args: [{ ref: "x", at: 5 }] },
    ], /byte 5 is outside of "x"/],
    ["a name of two sizes", [{ ...zero, args: [{ out: "x", size: 8 }, { out: "x", size: 4 }] }], /another size/],
    ["a call that is not there", [{ ...zero, syscall: "fork_bomb" as SyscallName }], /no system call "fork_bomb"/],
  ];
  for (const [what, program, message] of wrong) {
    it(`refuses ${what}`, () => {
      assert.throws(() => kernel.run(program), { code: "invalid_argument", message });
    });
  }
});

describe("Kernel.compile()", () => {
  const program: Program = [
    {
      syscall: "openat2",
      args: [AT_FDCWD, { hole: "path" }, [{ hole: "flags" }, 0, 0], 24],
      store: "fd",
      why: "open it",
    },
    { syscall: "fcntl", args: [{ ref: "fd" }, F_GETFD], store: "flags", why: "look" },
    { syscall: "close", args: [{ ref: "fd" }], why: "close it" },
  ];

  it("runs often, with other values each time", () => {
    const plan = kernel.compile(program);
    const before = descriptors();
    for (let round = 0; round < 3; round++) {
      const closing = kernel.run(plan.fill({ path: "/proc/self/status", flags: O_CLOEXEC }));
      assert.equal(closing.get("flags"), FD_CLOEXEC);
      assert.equal(kernel.run(plan.fill({ path: "/dev/null", flags: 0 })).get("flags"), 0);
      assert.throws(() => kernel.run(plan.fill({ path: "/no/such", flags: 0 })), { errno: "ENOENT" });
      assert.throws(() => kernel.run(plan.fill({ path: "/".padEnd(100_000, "x"), flags: 0 })), {
        errno: "ENAMETOOLONG",
      });
    }
    assert.equal(descriptors(), before);
    plan.release();
  });

  it("wants a value for each hole, and no other", () => {
    const plan = kernel.compile(program);
    assert.throws(() => kernel.run(plan), { code: "invalid_argument" });
    assert.throws(() => kernel.run(program), { code: "invalid_argument" });
    assert.throws(() => plan.fill({ path: "/" }), { code: "invalid_argument", message: /"flags" has no value/ });
    assert.throws(() => plan.fill({ path: "/", flags: 0, mode: 0 }), { code: "invalid_argument", message: /"mode"/ });
    plan.release();
  });
});

describe("EINTR", () => {
  /** Makes a call that a signal interrupts. */
  const interrupted = (call: () => number): number => {
    const stop = kernel.host.onSignal("SIGWINCH", () => {});
    const toThisThread = 4;
    const event = new Int32Array(16);
    event.set([SIGWINCH, toThisThread, kernel.call("gettid")], 2);
    const timer = kernel.buffer(8);
    kernel.call("timer_create", 1, new Uint8Array(event.buffer), timer.address);
    const id = new DataView(timer.bytes.buffer, timer.bytes.byteOffset).getInt32(0, true);
    kernel.call("timer_settime", id, 0, [0, 0, 0, 20_000_000], 0);
    try {
      return call();
    } finally {
      kernel.call("timer_delete", id);
      stop();
    }
  };

  it("makes a call again", () => {
    const pair = kernel.run([
      { syscall: "socketpair", args: [AF_UNIX, SOCK_DGRAM, 0, { out: "ends", size: 8 }], why: "make two sockets" },
    ]);
    const [one, other] = [pair.int32("ends"), pair.int32("ends", 4)];
    kernel.call("setsockopt", one, SOL_SOCKET, SO_RCVTIMEO, [0, 60_000], 16);
    const result = interrupted(() => kernel.attempt("recvfrom", one, 0, 0, 0, 0, 0));
    assert.equal(result, -errno.EAGAIN, "the timeout, not the signal, has ended it");
    kernel.call("close", one);
    kernel.call("close", other);
  });

  it("ends a call that would wait anew", () => {
    assert.equal(interrupted(() => kernel.attempt("poll", 0, 0, 200)), -errno.EINTR);
  });
});
