import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Failure } from "../../src/core/errors.ts";
import { reasonOf } from "../../src/functions/failures.ts";
import { Input } from "../../src/functions/input.ts";
import { until } from "../support/until.ts";

/** Carries a body into a sink that keeps it. */
function carry(
  body: ReadableStream<Uint8Array>,
  sink: UnderlyingSink<Uint8Array> = {},
  maxBodyBytes = 0,
  bodyTimeoutMs = 0,
) {
  const chunks: Uint8Array[] = [];
  const ends: string[] = [];
  const failures: Failure[] = [];
  const stdin = new WritableStream<Uint8Array>({
    write: (chunk) => void chunks.push(chunk),
    close: () => void ends.push("close"),
    abort: () => void ends.push("abort"),
    ...sink,
  });
  const limits = { maxBodyBytes, bodyTimeoutMs };
  return { chunks, ends, failures, input: new Input(body, stdin, limits, (failure) => failures.push(failure)) };
}

/** Resolves when the container's input has come to its end. */
const ended = (ends: readonly string[]) => until(() => Promise.resolve(ends.length > 0));
const of = (...lengths: number[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const length of lengths) controller.enqueue(new Uint8Array(length));
      controller.close();
    },
  });

describe("Input", () => {
  it("carries the body and ends it", async () => {
    const { chunks, ends, failures, input } = carry(of(2, 3));
    await ended(ends);
    await input.stop();
    assert.deepEqual(chunks.map((chunk) => chunk.length), [2, 3]);
    assert.deepEqual(ends, ["close"]);
    assert.deepEqual(failures, []);
    assert.equal(input.bytes, 5);
  });

  it("refuses a body over the limit, and passes nothing beyond it", async () => {
    const { chunks, ends, failures } = carry(of(2, 3), {}, 4);
    await ended(ends);
    assert.deepEqual(chunks.map((chunk) => chunk.length), [2]);
    assert.deepEqual(failures.map(reasonOf), ["body_too_large"]);
  });

  it("takes a body of exactly the limit", async () => {
    const { ends, failures } = carry(of(2, 2), {}, 4);
    await ended(ends);
    assert.deepEqual(failures, []);
    assert.deepEqual(ends, ["close"]);
  });

  it("waits so long for a slow caller, and ends a body that is late", async () => {
    let cancelled = 0;
    const slow = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new Uint8Array(2)),
      cancel: () => void cancelled++,
    });
    const { chunks, ends, failures, input } = carry(slow, {}, 0, 20);
    await ended(ends);
    await input.stop();
    assert.deepEqual(failures.map(reasonOf), ["body_too_slow"]);
    assert.equal(chunks.length, 1);
    assert.deepEqual(ends, ["abort"]);
    assert.equal(cancelled, 1);
  });

  it("does not count what the container takes", async () => {
    const gate = Promise.withResolvers<void>();
    const opened = setTimeout(() => gate.resolve(), 60);
    const { ends, failures } = carry(of(2, 3), { write: () => gate.promise }, 0, 20);
    await ended(ends);
    clearTimeout(opened);
    assert.deepEqual(failures, []);
    assert.deepEqual(ends, ["close"]);
  });

  it("tells of a body that breaks off", async () => {
    const broken = new ReadableStream<Uint8Array>({ start: (controller) => controller.error(new Error("reset")) });
    const { ends, failures } = carry(broken);
    await ended(ends);
    assert.deepEqual(failures.map(reasonOf), ["cancelled"]);
    assert.deepEqual(ends, ["abort"]);
  });

  it("takes a container that stops reading for its right", async () => {
    const refused = Promise.withResolvers<void>();
    const write = () => {
      refused.resolve();
      return Promise.reject(new Error("EPIPE"));
    };
    const { failures, input } = carry(of(2, 3), { write });
    await refused.promise;
    await input.stop();
    assert.deepEqual(failures, []);
  });

  it("stop() ends a body that never ends", async () => {
    let cancelled = 0;
    const { ends, failures, input } = carry(new ReadableStream({ cancel: () => void cancelled++ }));
    await input.stop();
    assert.equal(cancelled, 1);
    assert.deepEqual(ends, ["abort"]);
    assert.deepEqual(failures, []);
  });
});
