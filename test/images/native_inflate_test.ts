import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { currentHost } from "../../src/host/mod.ts";
import { type Fill, nativeInflaters } from "../../src/images/native_inflate.ts";

const inflaters = nativeInflaters(await currentHost());
const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
/** Text, noise and nothing: larger than the buffers are. */
const data = Buffer.concat([
  Buffer.from("a line that comes again and again\n".repeat(60_000)),
  randomBytes(1 << 20),
  Buffer.alloc(5 << 20),
]);
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const forms = {
  gzip: (bytes: Uint8Array) => gzipSync(bytes),
  zstd: (bytes: Uint8Array) => zstdCompressSync(bytes),
} as const;

/** Gives pieces of some size. */
function from(bytes: Uint8Array, size = Infinity): Fill {
  let at = 0;
  return (into) => {
    const part = bytes.subarray(at, at + Math.min(size, into.length));
    into.set(part);
    at += part.length;
    return part.length;
  };
}

for (const [form, compress] of Object.entries(forms) as [keyof typeof forms, (bytes: Uint8Array) => Buffer][]) {
  describe(`${form} by a library of this machine`, () => {
    const inflate = (bytes: Uint8Array, size?: number) => {
      const hash = createHash("sha256");
      for (const piece of inflaters[form]?.inflate(from(bytes, size)) ?? []) hash.update(piece);
      return hash.digest("hex");
    };

    it("gives back what was compressed, in pieces of any size", () => {
      assert.ok(inflaters[form]);
      const blob = compress(data);
      for (const size of [1000, 65_536, Infinity]) assert.equal(inflate(blob, size), digest(data));
      assert.equal(inflate(compress(Buffer.alloc(0)), 1), digest(Buffer.alloc(0)));
    });

    it("takes what is in more than one part", () => {
      const parts = [data.subarray(0, 3_000_000), data.subarray(3_000_000)].map(compress);
      assert.equal(inflate(Buffer.concat(parts)), digest(data));
      if (form === "zstd") assert.equal(inflate(Buffer.concat([skippable, ...parts, skippable])), digest(data));
      else assert.equal(inflate(Buffer.concat([...parts, Buffer.alloc(512)])), digest(data));
    });

    it("refuses what is cut short, and what is none", () => {
      const blob = compress(data);
      for (const length of [5, 1000, blob.length >> 1, blob.length - 1]) {
        assert.throws(() => inflate(blob.subarray(0, length)), { code: "data_loss", message: /cut short/ });
      }
      const bad = Buffer.concat([blob.subarray(0, 4), Buffer.alloc(100_000, 0xff)]);
      assert.throws(() => inflate(bad), { code: "data_loss" });
    });
  });
}
