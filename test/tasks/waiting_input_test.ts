import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { WaitingInput } from "../../src/tasks/waiting_input.ts";
import { until } from "../support/until.ts";

const never = new Promise<void>(() => {});
const KiB = 1024;

/** A process that reads when it is told to. */
function reader() {
  const gate = Promise.withResolvers<void>();
  const taken: number[] = [];
  const stream = new WritableStream<Uint8Array>({
    async write(chunk) {
      await gate.promise;
      taken.push(chunk[0] ?? -1);
    },
  });
  return { stream, taken, read: gate.resolve };
}

async function allTaken(input: WaitingInput): Promise<void> {
  await until(() => input.waitingBytes === 0);
}

describe("WaitingInput", () => {
  it("write() holds what waits to a limit, however many write and go", async () => {
    const { stream, taken, read } = reader();
    const input = new WaitingInput(stream);
    for (let n = 0; n < 20; n++) {
      const gone = Promise.withResolvers<void>();
      const written = input.write(new Uint8Array(512 * KiB).fill(n), gone.promise);
      gone.resolve();
      await written;
    }
    assert.equal(input.waitingBytes, 1024 * KiB);
    read();
    await input.write(Uint8Array.of(99), never);
    await allTaken(input);
    assert.deepEqual(taken, [0, 1, 99]);
  });

  it("write() waits for room, and comes behind what was there before", async () => {
    const { stream, taken, read } = reader();
    const input = new WaitingInput(stream);
    await input.write(new Uint8Array(1024 * KiB).fill(1), never);
    let done = false;
    const second = input.write(Uint8Array.of(2), never).then(() => done = true);
    await Promise.resolve();
    assert.equal(done, false);
    read();
    await second;
    await input.write(Uint8Array.of(3), never);
    await allTaken(input);
    assert.deepEqual(taken, [1, 2, 3]);
  });

  it("write() ends for all who wait when the input is closed, or fails", async () => {
    const { stream, read } = reader();
    const input = new WaitingInput(stream);
    await input.write(new Uint8Array(1024 * KiB), never);
    const waiting = input.write(Uint8Array.of(1), never);
    input.close();
    await waiting;
    await input.write(Uint8Array.of(2), never);
    read();

    const broken = new WaitingInput(new WritableStream({ write: () => Promise.reject(new Error("EPIPE")) }));
    await broken.write(new Uint8Array(1024 * KiB), never);
    await broken.write(Uint8Array.of(1), never);
    assert.equal(broken.waitingBytes, 0);
  });
});
