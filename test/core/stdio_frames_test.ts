import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeFrames, encodeFrame } from "../../src/core/stdio_frames.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const stream = (chunks: readonly Uint8Array[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

async function read(chunks: readonly Uint8Array[]): Promise<string[]> {
  const frames: string[] = [];
  for await (const { channel, payload } of decodeFrames(stream(chunks))) {
    frames.push(`${channel}:${new TextDecoder().decode(payload)}`);
  }
  return frames;
}

describe("decodeFrames()", () => {
  const frames = [
    encodeFrame("stdout", bytes("hello")),
    encodeFrame("stderr", bytes("")),
    encodeFrame("result", bytes("{}")),
  ];
  const whole = new Uint8Array(frames.flatMap((frame) => [...frame]));

  it("gives back what encodeFrame() was given", async () => {
    assert.deepEqual(await read(frames), ["stdout:hello", "stderr:", "result:{}"]);
  });

  it("does not mind where chunks end", async () => {
    assert.deepEqual(await read([...whole].map((byte) => new Uint8Array([byte]))), [
      "stdout:hello",
      "stderr:",
      "result:{}",
    ]);
    assert.deepEqual(await read([whole]), ["stdout:hello", "stderr:", "result:{}"]);
  });

  it("refuses a stream that breaks off inside a frame", async () => {
    await assert.rejects(read([whole.subarray(0, whole.length - 1)]), { code: "data_loss" });
  });

  it("refuses an unknown channel and a length beyond reason", async () => {
    await assert.rejects(read([new Uint8Array([9, 0, 0, 0, 0])]), { code: "data_loss" });
    await assert.rejects(read([new Uint8Array([1, 255, 255, 255, 255])]), { code: "data_loss" });
  });
});
