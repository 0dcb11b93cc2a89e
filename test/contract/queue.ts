import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { after, before, beforeEach, describe, it } from "node:test";
import type { Delivery, Queue, QueueLine } from "../../src/core/queue.ts";
import { until } from "../support/until.ts";

/** A queue to be tested. */
export interface QueueUnderTest extends AsyncDisposable {
  readonly queue: Queue;
}

export interface QueueContract {
  /** Opens a queue on a root folder, new or used. One whose `holdMs` is a setting has it at some seconds here. */
  open(root: string): Promise<QueueUnderTest>;
  /** The command that opens the same on a root folder and calls `publishOn`. */
  publishing(root: string): Promise<readonly [program: string, ...args: string[]]>;
}

/** Publishes without end, one alone and then three at once, and says each id on a line of its own when it is there. */
export async function publishOn(queue: Queue, say: (line: string) => void): Promise<never> {
  for (let round = 0;; round++) {
    const messages = Array.from({ length: round % 2 === 0 ? 1 : 3 }, (_, index) => ({
      ...crashed,
      id: `m${process.pid}-${round}-${index}`,
      data: Uint8Array.of(round & 255, index),
    }));
    await queue.publish(messages);
    for (const { id } of messages) say(id);
  }
}

const crashed: QueueLine = { namespace: "crashed", name: "f" };

/** What every queue has to do. */
export function queueContract(name: string, { open, publishing }: QueueContract): void {
  describe(`queue ${name}`, () => {
    let root = "";
    let opened: QueueUnderTest;
    let queue: Queue;
    let count = 0;
    let line: QueueLine;

    before(async () => {
      root = mkdtempSync(join(tmpdir(), "mayfly-queue-"));
      opened = await open(root);
      queue = opened.queue;
    });
    after(async () => {
      await opened[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    });
    beforeEach(() => line = { namespace: `n${count++}`, name: "f" });

    const reopen = async () => {
      await opened[Symbol.asyncDispose]();
      opened = await open(root);
      queue = opened.queue;
    };
    const message = (id: string, data = Uint8Array.of(1), to = line) => ({ ...to, id: `${to.namespace}-${id}`, data });
    const add = (...ids: readonly string[]) => queue.publish(ids.map((id) => message(id)));
    const short = ({ id }: { readonly id: string }) => id.slice(id.indexOf("-") + 1);
    const pull = async (limit = 10, from = line) => (await queue.pull(from, limit)).deliveries;
    /** The next one, waited for where the queue takes time to see that nobody holds it any more. */
    const next = async (): Promise<Delivery> => {
      return await until(async () => {
        const [delivery] = await pull(1);
        return delivery;
      });
    };
    const waiting = async ({ namespace } = line) =>
      (await queue.lines()).filter((each) => each.namespace === namespace).map(({ name, count }) => [name, count])
        .sort();

    it("pull() gives what was published, the oldest first, each once", async () => {
      const data = Uint8Array.from({ length: 256 }, (_, index) => index);
      await queue.publish([message("a", data), message("b", new Uint8Array())]);
      await add("c");
      const [first] = await pull(1);
      assert.deepEqual({ ...first, receipt: "" }, { ...message("a", data), receipt: "" });
      const others = await pull();
      assert.deepEqual(others.map(short), ["b", "c"]);
      assert.equal(others[0]?.data.length, 0);
      assert.deepEqual(await queue.pull(line, 10), { deliveries: [], next: undefined });
    });

    it("lines are apart, and lines() counts what waits in each", async () => {
      const other = { ...line, name: "g" };
      await add("a", "b", "c");
      await queue.publish([message("d", undefined, other)]);
      await pull(2);
      assert.deepEqual(await waiting(), [["f", 1], ["g", 1]]);
      assert.deepEqual((await pull(10, other)).map(short), ["d"]);
      assert.deepEqual(await pull(10, { ...line, name: "nothing" }), []);
      assert.deepEqual(await waiting(), [["f", 1]]);
    });

    it("publish() passes over an id that is in the queue, held or not", async () => {
      await add("a", "b");
      await pull(1);
      await add("a", "b", "c");
      assert.deepEqual((await pull()).map(short), ["b", "c"]);
    });

    it("publish() of nothing is nothing, and of many all", async () => {
      await add();
      const ids = Array.from({ length: 1200 }, (_, index) => String(index));
      await add(...ids);
      const all = [...await pull(1000), ...await pull(1000)];
      assert.deepEqual(all.map(short), ids);
    });

    it("ack() ends one, nak() gives it again, behind its delay", async () => {
      await add("a", "b");
      const [a, b] = await pull();
      await queue.ack(a!.receipt);
      await queue.nak(b!.receipt, 0);
      const again = await next();
      assert.equal(short(again), "b");
      const from = Date.now();
      await queue.nak(again.receipt, 300);
      const { deliveries, next: asked } = await queue.pull(line, 1);
      if (Date.now() - from < 300) {
        assert.deepEqual(deliveries, []);
        assert.ok(asked !== undefined);
        const last = await next();
        assert.ok(Date.now() - from >= 300);
        await queue.ack(last.receipt);
      }
      assert.deepEqual(await waiting(), []);
    });

    it("an old receipt does nothing", async () => {
      await add("a");
      const [first] = await pull();
      await queue.nak(first!.receipt, 0);
      const second = await next();
      await queue.ack(first!.receipt);
      await queue.nak(first!.receipt, 0);
      await queue.working(first!.receipt);
      assert.deepEqual(await pull(), []);
      await queue.nak(second.receipt, 0);
      await queue.ack((await next()).receipt);
      await queue.ack(second.receipt);
      await queue.nak(second.receipt, 0);
      assert.deepEqual(await waiting(), []);
    });

    it("subscribe() tells the line of each message that is added, until it is ended", async () => {
      const told: string[] = [];
      const end = queue.subscribe(({ namespace, name }) => told.push(`${namespace}/${name}`));
      await add("a", "b");
      await until(() => told.length === 2);
      end();
      await add("c");
      assert.deepEqual(told, [`${line.namespace}/f`, `${line.namespace}/f`]);
    });

    it("purge() removes what waits in one namespace", async () => {
      const other = { namespace: `${line.namespace}x`, name: "f" };
      await add("a");
      await queue.publish([message("b", undefined, { ...line, name: "g" }), message("c", undefined, other)]);
      await queue.purge(line.namespace);
      assert.deepEqual(await waiting(), []);
      assert.deepEqual((await pull(10, other)).map(short), ["c"]);
    });

    it("keeps what waits and what was held, and what is done stays done, when it is opened again", async () => {
      await add("a", "b", "c", "d");
      const [a, b, c] = await pull(3);
      await queue.ack(a!.receipt);
      await queue.nak(c!.receipt, 60_000);
      await reopen();
      // What a queue gives out again in which order is its own affair.
      const ids = new Set<string>();
      while (ids.size < 2) ids.add(short(await next()));
      assert.deepEqual([...ids].sort(), ["b", "d"]);
      assert.deepEqual(await pull(), []);
      await queue.ack(b!.receipt);
    });

    it("gives again what nobody works on any more, and holds what somebody does", async () => {
      const { holdMs } = queue;
      await add("a", "b");
      const [a, b] = await pull();
      if (holdMs === undefined) return;
      const working = setInterval(() => void queue.working(a!.receipt), holdMs / 4);
      try {
        assert.equal(short(await next()), "b");
        assert.deepEqual(await pull(), []);
        await queue.ack(b!.receipt);
      } finally {
        clearInterval(working);
      }
      assert.equal(short(await next()), "a");
    });

    it("has all that was published when the process is killed, and several at once or none of them", async () => {
      await opened[Symbol.asyncDispose]();
      const said: string[] = [];
      try {
        for (let round = 0; round < 3; round++) {
          const [program, ...args] = await publishing(root);
          const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
          for await (const id of createInterface(child.stdout)) {
            said.push(id);
            if (said.length % 60 === 0) break;
          }
          const ended = once(child, "exit");
          if (child.pid !== undefined) process.kill(child.pid, "SIGKILL");
          await ended;
        }
      } finally {
        opened = await open(root);
        queue = opened.queue;
      }
      const there = (await pull(1_000_000, crashed)).map(({ id }) => id);
      assert.equal(new Set(there).size, there.length);
      assert.deepEqual(said.filter((id) => !there.includes(id)), []);
      const rounds = new Map<string, number>();
      for (const id of there) {
        const round = id.slice(0, id.lastIndexOf("-"));
        rounds.set(round, (rounds.get(round) ?? 0) + 1);
      }
      for (const [round, size] of rounds) assert.ok(size === 1 || size === 3, `${size} of ${round}`);
    });
  });
}
