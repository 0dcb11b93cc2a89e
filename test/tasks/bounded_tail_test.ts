import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { boundedTail } from "../../src/tasks/bounded_tail.ts";

const piece = (size: number) => new Uint8Array(size);

async function count(stream: ReadableStream<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const chunk of stream) bytes += chunk.length;
  return bytes;
}

describe("boundedTail()", () => {
  it("passes on all that comes before the end, and what is left at it", async () => {
    const ended = Promise.withResolvers<void>();
    let sent = 0;
    const output = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        if (sent === 50) ended.resolve();
        if (++sent <= 52) controller.enqueue(piece(100));
        else controller.close();
      },
    }, { highWaterMark: 0 });
    assert.equal(await count(boundedTail(output, ended.promise, { bytes: 1000, idleMs: 1000 })), 5200);
  });

  it("listens to nobody who writes on without end", async () => {
    let cancelled = false;
    const output = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => controller.enqueue(piece(100)),
      cancel: () => void (cancelled = true),
    }, { highWaterMark: 0 });
    const bytes = await count(boundedTail(output, Promise.resolve(), { bytes: 1000, idleMs: 1000 }));
    assert.ok(bytes >= 1000 && bytes <= 1100, `${bytes} bytes`);
    assert.ok(cancelled);
  });

  for (const when of ["before", "while"]) {
    it(`waits for nobody who keeps the stream open, where the process ended ${when} it is read`, async () => {
      let cancelled = false;
      const read = Promise.withResolvers<void>();
      const output = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull: () => read.resolve(),
        cancel: () => void (cancelled = true),
      }, { highWaterMark: 0 });
      const ended = when === "before" ? Promise.reject(new Error("gone")) : read.promise;
      assert.equal(await count(boundedTail(output, ended, { bytes: 1000, idleMs: 20 })), 0);
      assert.ok(cancelled);
    });
  }
});
