import { Failure } from "../../core/errors.ts";
import type { Host } from "../../core/host.ts";
import { x64 } from "./x64.ts";

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
