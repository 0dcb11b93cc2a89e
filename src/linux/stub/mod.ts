import { Failure } from "../../core/errors.ts";
import type { Host } from "../../core/host.ts";
import { elf } from "./elf.ts";
import { initX64 } from "./init_x64.ts";
import { x64 } from "./x64.ts";

const inits: Readonly<Partial<Record<Host["arch"], Uint8Array>>> = { x64: initX64 };
const stubs: Readonly<Partial<Record<Host["arch"], Uint8Array>>> = { x64 };

/**
 * The interpreter of syscall programs as machine code: `int64_t stub(struct context *)`.
 * @throws unimplemented for a processor that has none.
 */
export function stub(arch: Host["arch"]): Uint8Array {
  const code = stubs[arch];
  if (code !== undefined) return code;
  throw new Failure("unimplemented", `cannot make system calls on ${arch}: this version knows x64 alone`);
}

/**
 * The init stub as a file to be executed: it runs syscall programs that it reads from a descriptor.
 * @throws unimplemented for a processor that has none.
 */
export function initStub(arch: Host["arch"]): Uint8Array<ArrayBuffer> {
  const interpreter = stub(arch);
  const code = inits[arch];
  if (code === undefined) {
    throw new Failure("unimplemented", `cannot make the init stub on ${arch}: this version knows x64 alone`);
  }
  const both = new Uint8Array(code.length + interpreter.length);
  both.set(code);
  both.set(interpreter, code.length);
  return elf(arch, both);
}
