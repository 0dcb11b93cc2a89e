import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";

const host = await currentHost();

/** Machine code of `return argument`, and of `return *argument`. */
const identity = { x64: [0x48, 0x89, 0xf8, 0xc3], arm64: [0xc0, 0x03, 0x5f, 0xd6] }[host.arch];
const load = { x64: [0x48, 0x8b, 0x07, 0xc3], arm64: [0x00, 0x00, 0x40, 0xf9, 0xc0, 0x03, 0x5f, 0xd6] }[host.arch];

describe("map()", () => {
  it("gives zeroed pages, rounded up, at an address that machine code sees", () => {
    const memory = host.map(5000);
    assert.equal(memory.bytes.byteLength, 8192);
    assert.ok(memory.bytes.every((byte) => byte === 0));
    memory.bytes.set([0x15, 0xcd, 0x5b, 0x07]);
    assert.equal(host.code(Uint8Array.from(load))(memory.address), 123456789);
    memory.release();
  });

  it("release() empties the view and may be called twice", () => {
    const memory = host.map(1);
    memory.release();
    memory.release();
    assert.equal(memory.bytes.byteLength, 0);
  });

  it("gives its memory back", () => {
    for (let round = 0; round < 2000; round++) {
      const memory = host.map(64 << 20);
      memory.bytes[0] = 1;
      memory.release();
    }
  });

  for (const byteLength of [0, -1, 1.5, NaN]) {
    it(`refuses ${byteLength} bytes`, () => {
      assert.throws(() => host.map(byteLength), { code: "invalid_argument" });
    });
  }

  it("says so when there is no more memory", () => {
    assert.throws(() => host.map(2 ** 50), { code: "resource_exhausted" });
  });
});

describe("code()", () => {
  const call = host.code(Uint8Array.from(identity));
  for (const value of [0, 1, 2 ** 32, 2 ** 47 - 1]) {
    it(`passes ${value} and returns it as a number`, () => assert.equal(call(value), value));
  }

  it("returns negative numbers", () => {
    const memory = host.map(8);
    new DataView(memory.bytes.buffer).setBigInt64(0, -38n, true);
    assert.equal(host.code(Uint8Array.from(load))(memory.address), -38);
    memory.release();
  });
});
