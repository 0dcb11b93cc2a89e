import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import * as layout from "../../src/linux/stub/layout.ts";
import { initX64 } from "../../src/linux/stub/init_x64.ts";
import { x64 } from "../../src/linux/stub/x64.ts";

const assembler = spawnSync("as", ["--version"], { encoding: "utf8" });
const canAssemble = assembler.status === 0 && assembler.stdout.includes("x86_64");

for (const [name, code] of [["x64", x64], ["init_x64", initX64]] as const) {
  it(
    `${name} is what the assembly makes`,
    { skip: canAssemble ? false : "there is no assembler for x86-64 (binutils)" },
    () => {
      const folder = mkdtempSync(join(tmpdir(), "mayfly-stub-"));
      try {
        const source = new URL(`../../src/linux/stub/${name}.s`, import.meta.url).pathname;
        const object = join(folder, `${name}.o`);
        const binary = join(folder, `${name}.bin`);
        const tables = {
          CONTEXT: layout.context,
          OPERATION: layout.operation,
          FLAGS: layout.flags,
          PSEUDO: layout.pseudo,
          CLONE_ARGS: layout.cloneArgs,
          INIT: layout.init,
        };
        const symbols = Object.entries(tables).flatMap(([prefix, table]) =>
          Object.entries(table).flatMap(([name, value]) => ["--defsym", `${prefix}_${name}=${value}`])
        );
        execFileSync("as", [...symbols, "-o", object, source]);
        execFileSync("objcopy", ["-O", "binary", "-j", ".text", object, binary]);
        const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
        assert.equal(hex(code), hex(readFileSync(binary)));
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );
}
