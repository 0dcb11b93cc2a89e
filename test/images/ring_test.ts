import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ring, RingStopped } from "../../src/images/ring.ts";

describe("a ring between threads", () => {
  it("gives what was written, in order, and the digest", () => {
    const ring = new Ring();
    const other = new Ring(ring.shared);
    const bytes = Uint8Array.from({ length: 1_300_000 }, (_, i) => i * 7);
    ring.write(bytes);
    ring.write(new Uint8Array());
    ring.write(Uint8Array.of(1, 2, 3));
    ring.end("ab".repeat(64));
    const read = [...other.pieces()].map((piece) => piece.length);
    assert.deepEqual(read, [524_288, 524_288, 251_424, 3]);
    assert.equal(other.digest, "ab".repeat(64));
  });

  it("has the same bytes when it has gone round", () => {
    const ring = new Ring();
    const pieces = new Ring(ring.shared).pieces();
    for (let round = 0; round < 50; round++) {
      ring.write(Uint8Array.of(round, round + 1));
      assert.deepEqual([...pieces.next().value ?? []], [round, round + 1]);
    }
    ring.end("");
    assert.equal(pieces.next().done, true);
  });

  it("lets nobody wait behind a stop", () => {
    const ring = new Ring();
    const write = () => ring.write(Uint8Array.of(1));
    for (let slot = 0; slot < 8; slot++) write();
    ring.stop();
    assert.throws(write, RingStopped);
    assert.throws(() => [...new Ring(ring.shared).pieces()], RingStopped);
    assert.throws(() => ring.end(""), RingStopped);
  });
});
