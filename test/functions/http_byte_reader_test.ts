import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { maxMessageBytes } from "../../src/core/web_socket.ts";
import { ByteReader } from "../../src/functions/http/byte_reader.ts";
import { ServerSocket } from "../../src/functions/http/web_socket.ts";

/** A stream of as many parts as are asked for. */
function streamOf(parts: Iterable<Uint8Array<ArrayBuffer>>): ReadableStream<Uint8Array<ArrayBuffer>> {
  const each = parts[Symbol.iterator]();
  return new ReadableStream({
    pull(controller) {
      const { done, value } = each.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  }, { highWaterMark: 0 });
}

describe("ByteReader", () => {
  it("joins what comes, and leaves alone what was taken", async () => {
    const sizes = [1, 7, 100, 3, 4096, 1, 1, 50, 9000];
    let next = 0;
    const reader = new ByteReader(streamOf(sizes.map((size) => Uint8Array.from({ length: size }, () => next++ % 251))));
    const taken: Uint8Array[] = [];
    for (let i = 0; await reader.fill(); i++) taken.push(reader.take(i % 3 === 0 ? 0 : reader.held / 2));
    taken.push(reader.take());
    const all = taken.flatMap((part) => [...part]);
    assert.equal(all.length, next);
    assert.ok(all.every((byte, at) => byte === at % 251));
  });

  it("is not kept busy by who sends a byte at a time", async () => {
    const length = 300_000;
    const one = new Uint8Array([1]);
    // To copy all that is there for each of them would be to copy 45 GB.
    const reader = new ByteReader(streamOf((function* () {
      for (let i = 0; i < length; i++) yield one;
    })()));
    while (reader.held < length) assert.ok(await reader.fill());
    assert.ok(reader.take().every((byte) => byte === 1));
  });
});

describe("ServerSocket", () => {
  it("is not kept busy by a message in parts of nothing", async () => {
    // Text of as many bytes as may be, 300 000 parts of nothing, and the last one.
    const begin = new Uint8Array(10 + maxMessageBytes).fill(97);
    begin.set([1, 127]);
    new DataView(begin.buffer).setBigUint64(2, BigInt(maxMessageBytes));
    const nothing = new Uint8Array(60_000);
    const last = new Uint8Array([128, 0]);
    const reader = new ByteReader(streamOf([begin, ...new Array<typeof nothing>(10).fill(nothing), last]));
    const socket = new ServerSocket({ reader, write: () => Promise.resolve(), cut: () => {} });
    const messages = socket.readable.getReader();
    const { value } = await messages.read();
    assert.equal(value?.length, maxMessageBytes);
    assert.ok(value.every((byte) => byte === 97));
  });

  const goodbyes: readonly (readonly [string, readonly number[], number])[] = [
    ["nothing", [], 1005],
    ["a code", [3, 232], 1000],
    ["a code of its own, and why", [0x0f, 0xa1, 111, 107], 4001],
    ["half a code", [3], 1006],
    ["a code below those that there are", [3, 231], 1006],
    ["a code that is never sent", [3, 238], 1006],
    ["a code above all", [255, 255], 1006],
    ["a reason that is no text", [3, 232, 255, 255], 1006],
  ];
  for (const [name, payload, code] of goodbyes) {
    it(`ends by a goodbye of ${name}`, async () => {
      const reader = new ByteReader(streamOf([Uint8Array.from([136, payload.length, ...payload])]));
      const socket = new ServerSocket({ reader, write: () => Promise.resolve(), cut: () => {} });
      await socket.readable.getReader().read().catch(() => {});
      assert.equal((await socket.closed).code, code);
    });
  }
});
