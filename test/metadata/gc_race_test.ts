import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers";
import * as v from "valibot";
import { digestOf } from "../../src/core/digest.ts";
import { codeOf } from "../../src/core/errors.ts";
import { FunctionInputSchema } from "../../src/core/function.ts";
import { Hold } from "../../src/images/hold.ts";
import { ingest } from "../../src/images/ingest.ts";
import { type Collectable, describeImage, openCollectable } from "./collectable.ts";

type Described = Awaited<ReturnType<typeof describeImage>>;

const settings = v.parse(FunctionInputSchema, { image: "x" });

/** Numbers from 0 up to a limit, the same in every run of a seed. */
function numbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(state / 2 ** 32 * limit);
  };
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** What is missing of an image. */
async function missing({ content, snapshotter }: Collectable, { blobs, chain }: Described): Promise<string[]> {
  const found = await Promise.all([
    ...blobs.map((digest) => content.info(digest).then(() => undefined, () => digest)),
    ...chain.map((key) => snapshotter.stat(key).then(() => undefined, () => key)),
  ]);
  return found.filter((each) => each !== undefined);
}

/** Brings an image as a pull does: it takes what is there, and makes the rest. */
async function bring({ content, snapshotter, metadata }: Collectable, hold: Hold, image: Described): Promise<void> {
  for (const [index, text] of image.texts.entries()) {
    const bytes = new TextEncoder().encode(text);
    // Some whose digest is known, and some whose digest tells when they have been read.
    await ingest(content, hold, new Blob([bytes]).stream(), index % 2 === 0 ? {} : { digest: await digestOf(bytes) });
  }
  for (const [index, key] of image.chain.entries()) {
    await hold.snapshots("native", [key]);
    if (await metadata.snapshots("native").get(key) !== undefined) continue;
    const active = `unpack-${crypto.randomUUID()}`;
    await snapshotter.prepare(active, image.chain[index - 1]);
    try {
      await snapshotter.commit(key, active);
    } catch (error) {
      if (codeOf(error) !== "already_exists") throw error;
      await snapshotter.remove(active);
    }
  }
}

/** Ways to refer to an image that is held, each with its end. The last holds its content alone, not what was unpacked. */
const references: readonly ((opened: Collectable, id: string, image: Described) => Promise<() => Promise<unknown>>)[] =
  [
    async ({ metadata }, name, { target }) => {
      await metadata.images.put({ namespace: "default", name, target });
      return () => metadata.images.delete("default", name);
    },
    async ({ metadata }, name, { target }) => {
      await metadata.functions.put({ namespace: "default", name, digest: target.digest, ...settings });
      return () => metadata.functions.delete("default", name);
    },
    async ({ metadata, snapshotter }, id, { target, chain }) => {
      const snapshotKey = `container-${id}`;
      const kind = { namespace: "default", runtime: "native", snapshotter: "native", spec: {}, labels: {} };
      await metadata.containers.create({ ...kind, id, image: undefined, snapshotKey, imageDigest: target.digest });
      await snapshotter.prepare(snapshotKey, chain.at(-1));
      return async () => {
        await snapshotter.remove(snapshotKey);
        await metadata.containers.delete("default", id);
      };
    },
    async ({ metadata }, name, { target, blobs }) => {
      const at = { namespace: "default", repository: name };
      await metadata.repositories.putBlobs(at, blobs.slice(1));
      await metadata.repositories.putManifest(at, { ...target, references: blobs.slice(1) });
      return async () => {
        for (const digest of blobs) await metadata.repositories.deleteBlob(at, digest);
        await metadata.repositories.deleteManifest(at, target.digest);
      };
    },
  ];

describe("collectGarbage(), beside those who make, take and let go", () => {
  it("removes nothing that is held or referred to, and all of the rest in the end", async () => {
    await using opened = await openCollectable();
    // Few, with layers in common: all want the same things.
    const images = await Promise.all([0, 1, 2, 3].map((n) => describeImage("base", `shared ${n % 2}`, `top ${n}`)));
    let over = false;
    let removed = 0;
    const collecting = (async () => {
      while (!over) {
        const collected = await opened.collect({ untaggedGraceMs: 60_000 });
        assert.deepEqual(collected.problems, []);
        removed += collected.blobs + collected.snapshots.length;
      }
    })();
    const work = async (seed: number) => {
      const next = numbers(seed);
      for (let round = 0; round < 8; round++) {
        const id = `${seed}.${round}`;
        const image = images[next(images.length)]!;
        const ends: (() => Promise<unknown>)[] = [];
        {
          await using hold = await Hold.take(opened.metadata.leases, "default", "pull");
          await bring(opened, hold, image);
          assert.deepEqual(await missing(opened, image), [], `${id}: held`);
          ends.push(await references[0]!(opened, `first-${id}`, image));
        }
        // From one reference to another, as `tag` does it: under a lease that holds the root alone.
        let unpacked = true;
        for (let step = 0; step < 2; step++) {
          await turns(next(20));
          if (unpacked) assert.deepEqual(await missing(opened, image), [], `${id}: before step ${step}`);
          await using hold = await Hold.take(opened.metadata.leases, "default", "tag");
          await hold.content(image.target.digest);
          if (!unpacked) await bring(opened, hold, image);
          await ends.pop()!();
          await turns(next(20));
          const kind = next(references.length);
          ends.push(await references[kind]!(opened, `${step}-${id}`, image));
          unpacked = kind < references.length - 1;
          assert.deepEqual(await missing(opened, image), [], `${id}: by reference ${kind}`);
        }
        await turns(next(20));
        await ends.pop()!();
        await turns(next(40));
      }
    };
    try {
      await Promise.all([1, 2, 3, 4].map(work));
    } finally {
      over = true;
    }
    await collecting;
    assert.ok(removed > 0, "nothing was collected meanwhile");
    await opened.collect();
    assert.deepEqual([await opened.blobs(), await opened.keys()], [[], []]);
  });
});
