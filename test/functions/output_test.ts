import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Output } from "../../src/functions/output.ts";
import { until } from "../support/until.ts";

type Controller = ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;

/** An output whose stdout the test writes. */
function open(options: { readonly bytes?: number; readonly ms?: number; readonly discard?: boolean } = {}) {
  let controller: Controller | undefined;
  const stdout = new ReadableStream<Uint8Array<ArrayBuffer>>({ start: (given) => void (controller = given) });
  const seen = { first: 0, full: 0 };
  const output = new Output(stdout, {
    hold: { bytes: options.bytes ?? 1024, ms: options.ms ?? 10_000 },
    discard: options.discard ?? false,
    onFirstByte: () => void seen.first++,
    letPass: () => Promise.resolve(),
    onFull: () => void seen.full++,
  });
  assert.ok(controller);
  return { output, controller, seen };
}

const bytes = (length: number, fill = 1) => new Uint8Array(length).fill(fill);
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("Output", () => {
  it("whole() has what was written before the end", async () => {
    const { output, controller, seen } = open();
    controller.enqueue(bytes(3));
    controller.enqueue(bytes(2, 2));
    controller.close();
    await output.drain();
    assert.deepEqual([...output.whole()], [1, 1, 1, 2, 2]);
    assert.deepEqual(seen, { first: 1, full: 0 });
    assert.equal(output.bytes, 5);
  });

  it("whole() is empty for a process that writes nothing", async () => {
    const { output, controller, seen } = open();
    controller.close();
    await output.drain();
    assert.equal(output.whole().length, 0);
    assert.deepEqual(seen, { first: 0, full: 0 });
  });

  it("flows when as much is held as may be", async () => {
    const { output, controller, seen } = open({ bytes: 4 });
    controller.enqueue(bytes(3));
    await turn();
    assert.equal(seen.full, 0);
    controller.enqueue(bytes(3));
    await turn();
    assert.equal(seen.full, 1);
    controller.close();
    await output.drain();
    const body = output.stream(Promise.resolve(), () => {});
    assert.equal((await new Response(body).bytes()).length, 6);
  });

  it("flows when the time since the first byte is over", async () => {
    const { output, controller, seen } = open({ ms: 5 });
    await sleep(20);
    assert.equal(seen.full, 0);
    controller.enqueue(bytes(1));
    await until(() => Promise.resolve(seen.full === 1));
    const body = output.stream(Promise.resolve(), () => {});
    controller.enqueue(bytes(1, 2));
    controller.enqueue(bytes(1, 3));
    controller.close();
    assert.deepEqual([...await new Response(body).bytes()], [1, 2, 3]);
  });

  it("does not flow any more once the process has ended", async () => {
    const { output, controller, seen } = open({ bytes: 4, ms: 5 });
    controller.enqueue(bytes(1));
    await turn();
    const drained = output.drain();
    controller.enqueue(bytes(100));
    await sleep(20);
    controller.close();
    await drained;
    assert.equal(seen.full, 0);
    assert.equal(output.whole().length, 101);
  });

  it("drain() while the body is read keeps the order", async () => {
    const { output, controller } = open({ bytes: 1 });
    controller.enqueue(bytes(1, 1));
    await turn();
    const reader = output.stream(Promise.resolve(), () => {}).getReader();
    assert.deepEqual([...(await reader.read()).value ?? []], [1]);
    const pending = reader.read();
    await turn();
    const drained = output.drain();
    for (const fill of [2, 3, 4]) controller.enqueue(bytes(1, fill));
    controller.close();
    await drained;
    assert.deepEqual([...(await pending).value ?? []], [2]);
    assert.deepEqual([...(await reader.read()).value ?? []], [3]);
    assert.deepEqual([...(await reader.read()).value ?? []], [4]);
    assert.equal((await reader.read()).done, true);
  });

  it("stream() ends as the outcome does", async () => {
    const { output, controller } = open({ bytes: 1 });
    controller.enqueue(bytes(1));
    await turn();
    const outcome = Promise.reject(new Error("killed"));
    outcome.catch(() => {});
    const reader = output.stream(outcome, () => {}).getReader();
    controller.close();
    await output.drain();
    await reader.read();
    await assert.rejects(reader.read(), /killed/);
  });

  it("stream() reads no faster than its reader", async () => {
    const { output, controller } = open({ bytes: 1 });
    controller.enqueue(bytes(1));
    await turn();
    output.stream(Promise.resolve(), () => {});
    const before = controller.desiredSize ?? 0;
    controller.enqueue(bytes(1));
    await turn();
    assert.equal(controller.desiredSize, before - 1);
  });

  it("tells when the client takes no more", async () => {
    const { output, controller } = open({ bytes: 1 });
    controller.enqueue(bytes(1));
    await turn();
    let cancelled = 0;
    await output.stream(Promise.resolve(), () => void cancelled++).cancel();
    assert.equal(cancelled, 1);
  });

  it("counts and drops what is not wanted", async () => {
    const { output, controller, seen } = open({ bytes: 4, discard: true });
    controller.enqueue(bytes(100));
    controller.close();
    await output.drain();
    assert.equal(output.bytes, 100);
    assert.equal(output.whole().length, 0);
    assert.equal(seen.full, 0);
  });
});
