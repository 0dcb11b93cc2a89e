import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compileDeviceRules } from "../../../src/linux/cgroup/device_filter.ts";
import { deviceRules } from "../../../src/linux/cgroup/devices.ts";

/** Runs a filter as the kernel would, for the few instructions that it is made of. */
function ask(program: Uint8Array, type: "b" | "c", access: string, major: number, minor: number): boolean {
  const view = new DataView(program.buffer);
  const bits = [...access].reduce((sum, letter) => sum | { m: 1, r: 2, w: 4 }[letter]!, 0);
  const context = [(bits << 16) | (type === "b" ? 1 : 2), major, minor];
  const registers: number[] = [];
  for (let at = 0;; at++) {
    assert.ok(at * 8 < program.length, "it runs off its end");
    const [code, registersByte] = [view.getUint8(at * 8), view.getUint8(at * 8 + 1)];
    const [to, from] = [registersByte & 15, registersByte >> 4];
    const [offset, value] = [view.getInt16(at * 8 + 2, true), view.getInt32(at * 8 + 4, true)];
    const [left = NaN, right = NaN] = [registers[to], registers[from]];
    if (code === 0x95) return registers[0] === 1;
    else if (code === 0x61) registers[to] = context[offset / 4] ?? NaN;
    else if (code === 0xbf) registers[to] = right;
    else if (code === 0xb7) registers[to] = value;
    else if (code === 0x57) registers[to] = left & value;
    else if (code === 0x77) registers[to] = left >>> value;
    else if (code === 0x55) at += left !== value ? offset : 0;
    else if (code === 0x5d) at += left !== right ? offset : 0;
    else if (code === 0x15) at += left === value ? offset : 0;
    else assert.fail(`instruction ${code}`);
  }
}

describe("compileDeviceRules()", () => {
  const program = compileDeviceRules(deviceRules([
    { allow: false, access: "rwm" },
    { allow: true, type: "b", major: 8, access: "r" },
    { allow: false, type: "b", major: 8, minor: 3, access: "r" },
  ]));
  const table = [
    ["c", "rw", 1, 3, true],
    ["c", "rwm", 1, 5, true],
    ["c", "rw", 136, 7, true],
    ["c", "r", 1, 1, false],
    ["c", "m", 1, 1, true],
    ["b", "m", 8, 0, true],
    ["b", "r", 8, 0, true],
    ["b", "w", 8, 0, false],
    ["b", "rw", 8, 0, false],
    ["b", "r", 8, 3, false],
    ["b", "r", 7, 0, false],
  ] as const;
  for (const [type, access, major, minor, allowed] of table) {
    it(`${allowed ? "allows" : "denies"} ${type} ${major}:${minor} ${access}`, () => {
      assert.equal(ask(program, type, access, major, minor), allowed);
    });
  }

  it("allows everything where no rule speaks", () => {
    assert.equal(ask(compileDeviceRules([]), "b", "rwm", 8, 0), true);
  });
});
