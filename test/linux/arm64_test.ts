import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import type { Arena } from "../../src/linux/arena.ts";
import { frame } from "../../src/linux/frame.ts";
import * as f from "../../src/linux/flags.ts";
import type { Program } from "../../src/linux/program.ts";
import { elf } from "../../src/linux/stub/elf.ts";
import { initArm64 } from "../../src/linux/stub/init_arm64.ts";
import { context, init, operation } from "../../src/linux/stub/layout.ts";
import { initStub } from "../../src/linux/stub/mod.ts";
import { type SyscallName, syscallTable } from "../../src/linux/syscalls.ts";
import { enlarge, load } from "../../src/linux/template.ts";
import { assemble } from "./assemble.ts";

const host = await currentHost();
const table = syscallTable("arm64");
const encoder = new TextEncoder();

/** Where Debian's package linux-libc-dev-arm64-cross has the kernel's own numbers. */
const header = "/usr/aarch64-linux-gnu/include/asm-generic/unistd.h";

describe("system calls of arm64", () => {
  it("have the kernel's numbers", () => {
    const text = readFileSync(header, "utf8");
    const numbers = new Map<string, number>();
    for (const [, name = "", number] of text.matchAll(/^#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$/gm)) {
      if (!numbers.has(name)) numbers.set(name, Number(number));
    }
    // The header has two names for it.
    numbers.set("newfstatat", numbers.get("fstatat") ?? NaN);
    const newest = Math.max(...[...numbers].filter(([name]) => name !== "syscalls").map(([, number]) => number));
    const known = Object.entries(table);
    assert.ok(known.length > 300);
    for (const [name, number] of known) {
      // From 424 on, all processors have the same numbers.
      const wanted = number > newest ? syscallTable("x64")[name as SyscallName] : numbers.get(name);
      assert.equal(number, wanted, name);
    }
  });

  it("are all that this program makes", () => {
    const root = new URL("../../", import.meta.url).pathname;
    const used = globSync("{src,runtimes,snapshotters}/**/*.ts", { cwd: root }).flatMap((file) =>
      [...readFileSync(join(root, file), "utf8").matchAll(/(?:syscall: |\.(?:call|attempt)\(\s*)"(\w+)"/g)].map((
        [, name = ""],
      ) => ({ file, name }))
    );
    assert.ok(used.length > 100);
    assert.deepEqual(used.filter(({ name }) => !Object.hasOwn(table, name)), []);
  });
});

describe("the stubs of arm64, emulated", () => {
  let folder = "";
  let count = 0;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-arm64-"));
    writeFileSync(join(folder, "init"), initStub("arm64"));
    chmodSync(join(folder, "init"), 0o755);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /**
   * Has the init stub run a program, in an emulator, and reads what it sends back. Its control descriptor is a file, which
   * ends behind the answer, and so does the stub.
   * @param options.change of the memory that is sent. @param options.file another stub.
   */
  function run(
    program: Program,
    { change, file = join(folder, "init") }: { change?: (arena: Arena) => void; file?: string } = {},
  ) {
    const arena = enlarge(host, undefined, init.memory + init.base);
    const { encoded } = load(program, arena, table);
    change?.(arena);
    const length = arena.cursor;
    const head = new DataView(new ArrayBuffer(init.head));
    head.setUint32(init.length, length, true);
    head.setUint32(init.reply, length, true);
    const path = join(folder, `program-${count++}`);
    const sent = new Uint8Array(init.head + length);
    sent.set(new Uint8Array(head.buffer));
    sent.set(arena.bytes.subarray(0, length), init.head);
    arena.memory.release();
    writeFileSync(path, sent);
    const emulated = `exec qemu-aarch64 "$0" ${init.control}<>"$1"`;
    const { status, stdout, stderr } = spawnSync("bash", ["-c", emulated, file, path], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    const answer = new Uint8Array(readFileSync(path)).slice(init.head + length);
    assert.equal(answer.length, length);
    const view = new DataView(answer.buffer);
    const at = (name: string) => encoded.slots.get(name)?.offset ?? NaN;
    return {
      stdout,
      answer: view,
      stored: (name: string) => Number(view.getBigInt64(at(name), true)),
      error: view.getInt32(frame.context + context.error, true),
    };
  }

  const say = (text: string): Program[number] => ({
    syscall: "write",
    args: [1, encoder.encode(text), text.length],
    why: `say ${text}`,
  });

  it("run a batch, and store its results", () => {
    const { stdout, stored, error } = run([
      say("hello "),
      { ...say("world\n"), store: "written" },
      { syscall: "getuid", args: [], store: "uid", why: "ask who" },
    ]);
    assert.deepEqual([stdout, stored("written"), stored("uid"), error], ["hello world\n", 6, 0, 0]);
  });

  it("follow references, of 64 bits and of 32, and move values into arrays", () => {
    const { stdout, error } = run([
      { syscall: "pipe2", args: [{ out: "ends", size: 8 }, f.O_CLOEXEC], why: "make a pipe" },
      { syscall: "write", args: [{ ref: "ends", at: 4 }, encoder.encode("piped\n"), 6], store: "length", why: "write" },
      { syscall: "read", args: [{ ref: "ends", at: 0 }, { out: "text", size: 6 }, { ref: "length" }], why: "read" },
      { syscall: "dup", args: [1], store: "out", why: "copy stdout" },
      {
        syscall: "writev",
        args: [{ ref: "out" }, [{ out: "text", size: 6 }, { ref: "length" }], 1],
        why: "write what was read",
      },
    ]);
    assert.deepEqual([stdout, error], ["piped\n", 0]);
  });

  it("jump on zero, on something else, and on an error", () => {
    const { stdout, error } = run([
      { syscall: "getuid", args: [], onZero: { goto: "zero" }, why: "is zero" },
      say("not "),
      { ...say("zero "), label: "zero" },
      { syscall: "getpid", args: [], onNonZero: { goto: "something" }, why: "is something" },
      say("not "),
      { ...say("something "), label: "something" },
      { syscall: "close", args: [-1], onError: { goto: "error" }, why: "fails" },
      say("not "),
      { ...say("error\n"), label: "error" },
    ]);
    assert.deepEqual([stdout, error], ["zero something error\n", 0]);
  });

  it("end at the operation that fails, and say which and why; or go on where that is wanted", () => {
    const { stdout, answer, error } = run([
      { syscall: "close", args: [-1], onError: "ignore", why: "fails, which is no matter" },
      say("first\n"),
      { syscall: "openat", args: [f.AT_FDCWD, "/no/such/file", f.O_RDONLY, 0], why: "open what is not there" },
      say("never\n"),
    ]);
    const ENOENT = 2;
    assert.deepEqual([stdout, error], ["first\n", -ENOENT]);
    const current = Number(answer.getBigUint64(frame.context + context.current, true)) - init.memory - init.base;
    assert.equal(answer.getInt32(current + operation.index, true), 2);
  });

  it("open with the flags that this processor has", () => {
    const open = (path: string, flags: number, store: string): Program[number] => (
      { syscall: "openat", args: [f.AT_FDCWD, path, flags, 0], store, onError: "ignore", why: `open ${path}` }
    );
    const how = [f.O_RDONLY | f.O_DIRECTORY, 0, 0];
    const { stored } = run([
      open("/bin/sh", f.O_RDONLY | f.O_DIRECTORY, "file"),
      open("/etc", f.O_RDONLY | f.O_DIRECTORY, "folder"),
      open("/proc/self", f.O_RDONLY | f.O_NOFOLLOW, "link"),
      {
        syscall: "openat2",
        args: [f.AT_FDCWD, "/bin/sh", how, how.length * 8],
        store: "file, by openat2",
        onError: "ignore",
        why: "open a file as a folder",
      },
    ]);
    const [ENOTDIR, ELOOP, ENOSYS] = [20, 40, 38];
    assert.deepEqual([stored("file"), stored("link")], [-ENOTDIR, -ELOOP]);
    assert.ok(stored("folder") > 0);
    // An emulator may not have it.
    assert.ok([-ENOTDIR, -ENOSYS].includes(stored("file, by openat2")), String(stored("file, by openat2")));
  });

  it("are told that the emulator has no clone3", () => {
    const ENOSYS = 38;
    const { stored } = run([
      { syscall: "clone3", args: [new Uint8Array(88), 88], store: "clone", onError: "ignore", why: "ask" },
    ]);
    assert.equal(stored("clone"), -ENOSYS);
  });

  it("run a program in a child, by clone where clone3 is not there", () => {
    const source = readFileSync(new URL("../../src/linux/stub/arm64.s", import.meta.url), "utf8");
    const calls = /ldr x0, \[x19, #CONTEXT_clone\]\s+mov x1, #CLONE_ARGS_size\s+mov x8, #SYS_clone3/;
    assert.match(source, calls);
    const flags = f.CLONE_VFORK | f.SIGCHLD;
    const byClone = source.replace(calls, `mov x0, #${flags}\nmov x1, xzr\nmov x2, xzr\nmov x8, #${table.clone}`);
    const file = join(folder, "by-clone");
    const code = new Uint8Array([...initArm64, ...assemble("arm64", byClone)]);
    writeFileSync(file, elf("arm64", code));
    chmodSync(file, 0o755);
    const { stdout, error } = run([say("in the child\n")], {
      file,
      change: (arena) => arena.pointer(frame.context + context.clone, frame.clone),
    });
    assert.deepEqual([stdout, error], ["in the child\n", 0]);
  });
});
