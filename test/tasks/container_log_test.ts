import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ContainerLog } from "../../src/tasks/container_log.ts";
import { readLog, type ReadLogOptions } from "../../src/tasks/read_log.ts";
import { until } from "../support/until.ts";

const MiB = 1024 * 1024;

describe("ContainerLog", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-log-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const open = (maxBytes = MiB, onTrouble: (error: unknown) => void = (error) => assert.fail(String(error))) =>
    new ContainerLog({ folder, maxBytes, onTrouble });
  const bytes = (text: string) => new TextEncoder().encode(text);
  const text = async (options: ReadLogOptions = {}) => {
    let all = "";
    for await (const { payload } of readLog(folder, options)) all += new TextDecoder().decode(payload);
    return all;
  };
  const size = () => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  const write = async (...chunks: readonly string[]) => {
    const log = open();
    for (const chunk of chunks) await log.append("stdout", bytes(chunk));
    await log.close();
  };

  it("gives back what came, byte for byte, whatever the lines' lengths", async () => {
    const log = open(8 * MiB);
    const long = "x".repeat(3 * MiB);
    await log.append("stdout", bytes(long));
    await log.append("stdout", Uint8Array.of(0, 255, 10));
    await log.append("stderr", bytes("no newline"));
    await log.close();
    const parts: Uint8Array[] = [];
    for await (const { payload } of readLog(folder)) parts.push(payload);
    const all = Buffer.concat(parts);
    assert.equal(all.length, 3 * MiB + 3 + 10);
    assert.equal(all.subarray(0, 3 * MiB).toString(), long);
    assert.deepEqual([...all.subarray(3 * MiB, 3 * MiB + 3)], [0, 255, 10]);
    assert.equal(await text({ channels: ["stderr"] }), "no newline");
  });

  it("keeps the newest, within its limit", async () => {
    const log = open(MiB);
    for (let i = 0; i < 3000; i++) await log.append("stdout", bytes(`${i} ${"x".repeat(1000)}\n`));
    await log.close();
    assert.ok(size() <= MiB, `${size()} bytes`);
    const lines = (await text()).trimEnd().split("\n").map((line) => Number(line.split(" ")[0]));
    assert.equal(lines.at(-1), 2999);
    assert.ok(lines.length > 700, `${lines.length} lines`);
    assert.deepEqual(lines, Array.from({ length: lines.length }, (_, i) => 3000 - lines.length + i));
  });

  for (
    const [chunks, tail, expected] of [
      [["a\nb\nc\n"], 0, ""],
      [["a\nb\nc\n"], 1, "c\n"],
      [["a\nb\nc\n"], 2, "b\nc\n"],
      [["a\nb\nc\n"], 9, "a\nb\nc\n"],
      [["a\nb\nc"], 1, "c"],
      [["a\nb\nc"], 2, "b\nc"],
      [["a\n", "b", "b\n", "c", "c"], 1, "cc"],
      [["a\n", "b", "b\n", "c", "c"], 2, "bb\ncc"],
      [["\n\n\n"], 2, "\n\n"],
      [[], 3, ""],
    ] as const
  ) {
    it(`tail ${tail} of ${JSON.stringify(chunks)} is ${JSON.stringify(expected)}`, async () => {
      await write(...chunks);
      assert.equal(await text({ tail }), expected);
    });
  }

  it("goes on behind what a killed daemon left half written", async () => {
    await write("whole\n");
    const [name = ""] = readdirSync(folder);
    appendFileSync(join(folder, name), Uint8Array.of(1, 2, 3, 4, 5));
    assert.equal(await text(), "whole\n");
    await write("more\n");
    assert.equal(await text(), "whole\nmore\n");
  });

  it("is followed from the first byte to the last, over rotations", async () => {
    const log = open(MiB);
    const reading = text({ follow: log });
    let expected = "";
    for (let i = 0; i < 500; i++) {
      const line = `${i} ${"y".repeat(2000)}\n`;
      expected += line;
      await log.append("stdout", bytes(line));
      // The reader keeps up: what is removed before it was read would be left out.
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await log.append("stdout", bytes("the end"));
    await log.close();
    const got = await reading;
    assert.ok(got.endsWith("the end"));
    assert.ok((expected + "the end").endsWith(got.slice(-MiB / 2)));
  });

  it("ends following when its reader goes", async () => {
    const log = open();
    const gone = new AbortController();
    const reading = text({ follow: log, signal: gone.signal });
    gone.abort();
    assert.equal(await reading, "");
    await log.close();
  });

  it("says how much was lost on a full disk, and never holds the container up", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]);
    try {
      const trouble: unknown[] = [];
      const ballast = join(folder, "ballast");
      const log = open(4 * MiB, (error) => trouble.push(error));
      await log.append("stdout", bytes("before\n"));
      writeFileSync(ballast, new Uint8Array(400 * 1024));
      for (let i = 0; i < 20; i++) await log.append("stdout", bytes(`${"z".repeat(60_000)}\n`));
      await until(() => trouble.length > 0);
      rmSync(ballast);
      await log.append("stderr", bytes("after\n"));
      await log.close();
      const records: [string, string][] = [];
      for await (const { channel, payload } of readLog(folder)) {
        records.push([channel, new TextDecoder().decode(payload)]);
      }
      assert.deepEqual(records[0], ["stdout", "before\n"]);
      assert.deepEqual(records.at(-1), ["stderr", "after\n"]);
      const lost = records.filter(([channel]) => channel === "lost").reduce((sum, [, count]) => sum + Number(count), 0);
      const kept = records.filter(([, text]) => text.startsWith("z")).length;
      assert.equal(lost + kept * 60_001, 20 * 60_001);
      assert.ok(lost > 0);
    } finally {
      execFileSync("umount", [folder]);
    }
  });
});
