import assert from "node:assert/strict";
import { it } from "node:test";
import { explain } from "../../src/linux/explain.ts";
import type { Program } from "../../src/linux/program.ts";

it("explain() prints a line for each step", () => {
  const program: Program = [
    { syscall: "mount", args: [0, "/", 0, 0x44000, 0], why: "make the mounts private" },
    { syscall: "pipe2", args: [{ out: "ends", size: 8 }, 0x80000], why: "make a pipe" },
    { syscall: "dup3", args: [{ ref: "ends", at: 4 }, 1, 0], store: "fd", why: "take its end" },
    { syscall: "prctl", args: [4, 0n], onError: "ignore", label: "dump", why: "be dumpable" },
    { syscall: "close", args: [{ ref: "fd" }], onError: { goto: "dump" }, onZero: { goto: "end" }, why: "close it" },
    { syscall: "execve", args: [{ hole: "path" }, ["a b", -1], ["KEY=secret", 0]], why: "execute" },
  ];
  assert.equal(
    explain(program),
    `
0  make the mounts private: mount(0, "/", 0, 0x44000, 0)
1  make a pipe: pipe2(<ends: 8 bytes>, 0x80000)
2  take its end: dup3(ends[4], 1, 0) → fd
3  be dumpable: [dump] prctl(4, 0x0) (an error is no matter)
4  close it: close(fd) (on error: dump) (if 0: end)
5  execute: execve(<path>, ["a b", -1], <2 words>)`.slice(1),
  );
});
