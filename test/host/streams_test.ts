import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { currentHost } from "../../src/host/mod.ts";
import { RawSyscall } from "./raw_syscall.ts";

const host = await currentHost();
const system = new RawSyscall(host);
const encoder = new TextEncoder();
const pairs = [["a pipe", () => system.pipe()], ["a socket", () => system.socketpair()]] as const;

/** Counts pipes and sockets; what else a runtime opens when it likes is its own. */
const openDescriptors = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return /^(?:pipe|socket):/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;
const isOpen = (fd: number) => system.call("fcntl", fd, 1) >= 0;

/** Resolves when no more descriptors are open than before. A runtime may close a descriptor some turns later. */
async function closedAgain(before: number): Promise<void> {
  const deadline = Date.now() + 5000;
  while (openDescriptors() > before) {
    assert.ok(Date.now() < deadline, `${openDescriptors()} descriptors are open, ${before} were before`);
    await turn();
  }
}

for (const [name, make] of pairs) {
  describe(`readable() and writable() on ${name}`, () => {
    it("carry bytes and close both ends", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const writer = host.writable(output).getWriter();
      await writer.write(encoder.encode("hello "));
      await writer.write(encoder.encode("world"));
      await writer.close();
      assert.equal(isOpen(output), false);
      assert.equal(await new Response(host.readable(input)).text(), "hello world");
      await closedAgain(before);
    });

    it("wait for bytes that come later", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const reader = host.readable(input).getReader();
      for (const word of ["one", "two", "three"]) {
        const next = reader.read();
        await sleep(5);
        system.write(output, word);
        assert.equal(new TextDecoder().decode((await next).value), word);
      }
      system.call("close", output);
      assert.equal((await reader.read()).done, true);
      await closedAgain(before);
    });

    it("end where the writer went while nobody read", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const reader = host.readable(input).getReader();
      // The first read blocks, so that the runtime's own machinery has the descriptor from here on.
      const first = reader.read();
      await turn();
      system.write(output, "last");
      system.call("close", output);
      assert.equal(new TextDecoder().decode((await first).value), "last");
      for (let turns = 0; turns < 20; turns++) await turn();
      assert.equal((await reader.read()).done, true);
      await closedAgain(before);
    });

    it("carry 32 MiB unchanged, and hold the writer back", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const chunk = Uint8Array.from({ length: 100_003 }, (_, index) => index % 251);
      const count = Math.ceil((32 << 20) / chunk.byteLength);
      let written = 0;
      const writing = (async () => {
        const writer = host.writable(output).getWriter();
        for (; written < count; written++) await writer.write(chunk);
        await writer.close();
      })();
      await sleep(50);
      assert.ok(written * chunk.byteLength < 8 << 20, `${written} chunks were taken though nobody read`);
      let position = 0;
      for await (const part of host.readable(input)) {
        for (const step of [0, part.byteLength - 1]) {
          assert.equal(part[step], ((position + step) % chunk.byteLength) % 251);
        }
        position += part.byteLength;
      }
      await writing;
      assert.equal(position, count * chunk.byteLength);
      await closedAgain(before);
    });

    it("hold the writer back when the consumer stops in the middle", async () => {
      const [input, output] = make();
      const reader = host.readable(input).getReader();
      const first = reader.read();
      const writer = host.writable(output).getWriter();
      const chunk = new Uint8Array(64 << 10);
      let written = 0;
      const writing = (async () => {
        for (; written < 1024; written++) await writer.write(chunk);
      })();
      writing.catch(() => {});
      await first;
      for (let count = 0; count < 20; count++) await reader.read();
      await sleep(100);
      assert.ok(written < 128, `${written * 64} KiB were taken after 1.3 MiB were read`);
      await reader.cancel();
      await assert.rejects(writing);
    });

    it("cancel() closes a descriptor that nobody has read", async () => {
      const [input, output] = make();
      await host.readable(input).cancel();
      assert.equal(isOpen(input), false);
      system.call("close", output);
    });

    it("cancel() closes the descriptor while a read waits", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const reader = host.readable(input).getReader();
      const next = reader.read();
      await sleep(5);
      await reader.cancel();
      assert.equal((await next).done, true);
      await closedAgain(before + 1);
      system.call("close", output);
      await closedAgain(before);
    });

    it("a write to a reader that is gone fails with EPIPE", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const writer = host.writable(output).getWriter();
      writer.closed.catch(() => {});
      await writer.write(encoder.encode("first"));
      system.call("close", input);
      await assert.rejects(writer.write(encoder.encode("second")), /EPIPE|ECONNRESET/);
      await assert.rejects(writer.closed);
      await closedAgain(before);
    });

    it("a write that waits fails when the reader goes", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const writer = host.writable(output).getWriter();
      writer.closed.catch(() => {});
      const failing = assert.rejects(writer.write(new Uint8Array(8 << 20)), /EPIPE|ECONNRESET/);
      await sleep(20);
      system.call("close", input);
      await failing;
      await closedAgain(before);
    });

    it("abort() fails a write that waits", async () => {
      const before = openDescriptors();
      const [input, output] = make();
      const writer = host.writable(output).getWriter();
      writer.closed.catch(() => {});
      const failing = assert.rejects(writer.write(new Uint8Array(8 << 20)));
      await sleep(20);
      await writer.abort(new Error("enough"));
      await failing;
      system.call("close", input);
      await closedAgain(before);
    });

    it("hold nothing open after 1000 uses, each of them waiting once", async () => {
      const before = openDescriptors();
      for (let round = 0; round < 1000; round++) {
        const [input, output] = make();
        const text = new Response(host.readable(input)).text();
        await Promise.resolve();
        const writer = host.writable(output).getWriter();
        await writer.write(encoder.encode(`round ${round}`));
        await writer.close();
        assert.equal(await text, `round ${round}`);
      }
      await closedAgain(before);
    });

    it("200 at once, all waiting", async () => {
      const before = openDescriptors();
      const ends = Array.from({ length: 200 }, make);
      const texts = ends.map(([input]) => new Response(host.readable(input)).text());
      await sleep(20);
      ends.forEach(([, output], index) => {
        system.write(output, `${index}`);
        system.call("close", output);
      });
      assert.deepEqual(await Promise.all(texts), ends.map((_, index) => `${index}`));
      await closedAgain(before);
    });
  });
}

describe("onChild()", () => {
  it("is called after a child has ended, until it is stopped", async () => {
    let calls = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = host.onChild(() => {
      calls++;
      resolve();
    });
    const keepAlive = setInterval(() => {}, 1000);
    spawn("/bin/true", { stdio: "ignore" });
    await promise;
    clearInterval(keepAlive);
    stop();
    const before = calls;
    await new Promise((ended) => spawn("/bin/true", { stdio: "ignore" }).once("exit", ended));
    await sleep(20);
    assert.equal(calls, before);
  });
});

describe("onSignal()", () => {
  it("is called in place of the default action", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = host.onSignal("SIGHUP", resolve);
    const keepAlive = setInterval(() => {}, 1000);
    process.kill(process.pid, "SIGHUP");
    await promise;
    clearInterval(keepAlive);
    stop();
  });
});
