import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Host } from "../../src/core/host.ts";
import * as layout from "../../src/linux/stub/layout.ts";

/** Assemblers of Debian's packages binutils (on x86-64) and binutils-aarch64-linux-gnu. */
const tools = { x64: ["as", "objcopy"], arm64: ["aarch64-linux-gnu-as", "aarch64-linux-gnu-objcopy"] } as const;

/** Numbers that the assembly takes by name: `CONTEXT_operations`, … */
const tables = {
  CONTEXT: layout.context,
  OPERATION: layout.operation,
  FLAGS: layout.flags,
  PSEUDO: layout.pseudo,
  CLONE_ARGS: layout.cloneArgs,
  LAUNCHER: layout.launcher,
  INIT: layout.init,
};

/** Assembles a stub. @returns its machine code. */
export function assemble(arch: Host["arch"], source: string): Uint8Array {
  const [as, objcopy] = tools[arch];
  const folder = mkdtempSync(join(tmpdir(), "mayfly-stub-"));
  const path = (name: string) => join(folder, name);
  try {
    const symbols = Object.entries(tables).flatMap(([prefix, table]) =>
      Object.entries(table).flatMap(([name, value]) => ["--defsym", `${prefix}_${name}=${value}`])
    );
    writeFileSync(path("source.s"), source);
    execFileSync(as, [...symbols, "-o", path("object"), path("source.s")]);
    execFileSync(objcopy, ["-O", "binary", "-j", ".text", path("object"), path("binary")]);
    return readFileSync(path("binary"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
