import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { arm64 } from "../../src/linux/stub/arm64.ts";
import { initArm64 } from "../../src/linux/stub/init_arm64.ts";
import { initX64 } from "../../src/linux/stub/init_x64.ts";
import { x64 } from "../../src/linux/stub/x64.ts";
import { assemble } from "./assemble.ts";

const stubs = [
  ["x64", "x64", x64],
  ["init_x64", "x64", initX64],
  ["arm64", "arm64", arm64],
  ["init_arm64", "arm64", initArm64],
] as const;

for (const [name, arch, code] of stubs) {
  it(`${name} is what the assembly makes`, () => {
    const source = readFileSync(new URL(`../../src/linux/stub/${name}.s`, import.meta.url), "utf8");
    const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    assert.equal(hex(code), hex(assemble(arch, source)));
  });
}
