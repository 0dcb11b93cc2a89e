import type { Host } from "../../core/host.ts";
import { arm64 } from "./arm64.ts";
import { elf } from "./elf.ts";
import { initArm64 } from "./init_arm64.ts";
import { initX64 } from "./init_x64.ts";
import { x64 } from "./x64.ts";

const inits: Readonly<Record<Host["arch"], Uint8Array>> = { x64: initX64, arm64: initArm64 };
const stubs: Readonly<Record<Host["arch"], Uint8Array>> = { x64, arm64 };

/** The interpreter of syscall programs as machine code: `int64_t stub(struct context *)`. */
export function stub(arch: Host["arch"]): Uint8Array {
  return stubs[arch];
}

/** The init stub as a file to be executed: it runs syscall programs that it reads from a descriptor. */
export function initStub(arch: Host["arch"]): Uint8Array<ArrayBuffer> {
  const interpreter = stub(arch);
  const code = inits[arch];
  const both = new Uint8Array(code.length + interpreter.length);
  both.set(code);
  both.set(interpreter, code.length);
  return elf(arch, both);
}
