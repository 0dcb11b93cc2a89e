import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { digestOf } from "../../src/core/digest.ts";
import { FunctionInputSchema } from "../../src/core/function.ts";
import type { Image } from "../../src/core/image.ts";
import { outdated, retain, type RetentionPolicy, usedPercentOf } from "../../src/metadata/retention.ts";
import { temporaryMetadata } from "./open.ts";

const dayMs = 24 * 3600_000;
const now = Date.now();

/** An image of a name that was put there so many days ago. */
async function image(name: string, days: number, namespace = "default"): Promise<Image> {
  const target = { mediaType: mediaTypes.manifest, digest: await digestOf(name), size: 1 };
  const at = new Date(now - days * dayMs);
  return { namespace, name, target, labels: {}, createdAt: at, updatedAt: at };
}

describe("which images are outdated", () => {
  const table: readonly [policy: RetentionPolicy, wanted: readonly string[]][] = [
    [{}, []],
    [{ keepVersions: 1 }, ["r.io/a:1", "r.io/a:2"]],
    [{ keepVersions: 2 }, ["r.io/a:1"]],
    [{ keepVersions: 0 }, ["r.io/a:1", "r.io/b:1", "r.io/a:2", "r.io/a:3"]],
    [{ keepDays: 10 }, ["r.io/a:1", "r.io/b:1"]],
    [{ keepDays: 10, keepVersions: 1 }, ["r.io/a:1"]],
    [{ keepDays: 0, keepVersions: 5 }, []],
  ];
  for (const [policy, wanted] of table) {
    it(`with ${JSON.stringify(policy)}`, async () => {
      const images = [
        await image("r.io/a:1", 30),
        await image("r.io/b:1", 20),
        await image("r.io/a:2", 5),
        await image("r.io/a:3", 1),
      ];
      assert.deepEqual(outdated(images, policy, now).map(({ name }) => name), wanted);
    });
  }
});

describe("retain()", () => {
  /** @param percents what the disk has, at each look. */
  async function open(percents: number[] = [0]) {
    const opened = await temporaryMetadata();
    const { metadata } = opened;
    const removed: string[] = [];
    for (const name of ["r.io/a:1", "r.io/a:2", "r.io/a:3"]) {
      const { target } = await image(name, 0);
      await metadata.images.put({ namespace: "default", name, target });
      // Times of one millisecond have no order.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    let collections = 0;
    const run = (policy: RetentionPolicy) =>
      retain({
        metadata,
        policy,
        usedPercent: () => Promise.resolve(percents.length > 1 ? percents.shift()! : percents[0]!),
        collect: () => Promise.resolve(collections++),
        onRemoved: ({ name }) => removed.push(name),
      });
    return { ...opened, run, removed, collections: () => collections };
  }

  it("keeps what functions and containers use, by name and by content", async () => {
    await using opened = await open();
    const { metadata, run, removed } = opened;
    const { target } = await image("r.io/a:1", 0);
    const settings = v.parse(FunctionInputSchema, { image: "elsewhere" });
    await metadata.functions.put({ namespace: "default", name: "f", digest: target.digest, ...settings });
    await metadata.containers.create({
      namespace: "default",
      id: "c",
      image: "r.io/a:2",
      runtime: "native",
      snapshotter: "native",
      snapshotKey: undefined,
      spec: {},
      labels: {},
    });
    await run({ keepVersions: 0 });
    assert.deepEqual(removed, ["r.io/a:3"]);
    assert.deepEqual((await metadata.images.list("default")).map(({ name }) => name), ["r.io/a:1", "r.io/a:2"]);
  });

  it("frees the disk from its high to its low watermark, the oldest image first", async () => {
    await using opened = await open([95, 95, 85, 70]);
    await opened.run({ highPercent: 90, lowPercent: 80 });
    assert.deepEqual(opened.removed, ["r.io/a:1", "r.io/a:2"]);
    assert.ok(opened.collections() >= 2);
  });

  it("leaves a disk below its high watermark alone", async () => {
    await using opened = await open([89]);
    await opened.run({ highPercent: 90, lowPercent: 10 });
    assert.deepEqual([opened.removed, opened.collections()], [[], 0]);
  });

  it("knows how full a disk is", async () => {
    const percent = await usedPercentOf("/");
    assert.ok(percent >= 0 && percent <= 100, String(percent));
  });
});
