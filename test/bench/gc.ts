/*
 * A garbage collection of many layers and blobs, a half of which is needed: how long it takes, how long the event loop
 * stands still at most, and how long one who takes a lease meanwhile waits at most.
 *
 *     node test/bench/gc.ts [layers] [blobs]      (or deno run -A, bun)
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { chainIds, digestOf } from "../../src/core/digest.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Hold } from "../../src/images/hold.ts";
import { collectGarbage } from "../../src/metadata/gc.ts";
import { openRoom } from "../images/room.ts";
import { milliseconds, quantile } from "./figures.ts";

const layers = Number(process.argv[2] ?? 1000);
const blobs = Number(process.argv[3] ?? 100_000);
/** Of an image: layers that stand on each other, and all blobs. */
const layersEach = 10;
const images = layers / layersEach;
const blobsEach = Math.floor(blobs / images);

const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
try {
  await using room = await openRoom(join(folder, "root"));
  const { metadata } = room;
  const overlay = room.snapshotters.get("overlay");
  if (overlay === undefined) throw new Error("there is no overlay");
  // Written as it lies there: a hundred thousand ingests would take as many writes to disk.
  const store = async (mediaType: string, text: string) => {
    const digest = await digestOf(text);
    writeFileSync(join(room.root, "content/blobs", digest.replace(":", "/")), text);
    return { mediaType, digest, size: text.length };
  };
  for (let image = 0; image < images; image++) {
    const names = Array.from({ length: layersEach }, (_, layer) => `${image}.${layer}`);
    const diffIds = await Promise.all(names.map((name) => digestOf(name)));
    let parent: string | undefined;
    for (const key of await chainIds(diffIds)) {
      await overlay.prepare(`bench-${key}`, parent);
      await overlay.commit(key, `bench-${key}`);
      parent = key;
    }
    const rootfs = { type: "layers", diff_ids: diffIds };
    const config = await store(mediaTypes.config, JSON.stringify({ os: "linux", architecture: "amd64", rootfs }));
    const manifests = [];
    // Indexes and manifests hold so many that no document is larger than it may be.
    for (let at = 0; at < blobsEach; at += 400) {
      const parts = [];
      for (let blob = at; blob < Math.min(at + 400, blobsEach); blob++) {
        parts.push(await store(mediaTypes.layer, `${image}/${blob}`));
      }
      manifests.push(
        await store(mediaTypes.manifest, JSON.stringify({ schemaVersion: 2, config, layers: parts })),
      );
    }
    const target = await store(mediaTypes.index, JSON.stringify({ schemaVersion: 2, manifests }));
    // The other half is garbage.
    if (image % 2 === 0) await metadata.images.put({ namespace: "default", name: `bench.test/i${image}:1`, target });
  }

  const pauses: number[] = [];
  /** Of each pause, how long this thread had a processor: the rest is what others had. */
  const worked: number[] = [];
  const processor = () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
  const waits: number[] = [];
  let over = false;
  const beat = async () => {
    for (let last = performance.now(), before = processor(); !over;) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const [now, after] = [performance.now(), processor()];
      pauses.push(now - last - 1);
      worked.push(after - before);
      [last, before] = [now, after];
    }
  };
  const lease = async () => {
    while (!over) {
      const began = performance.now();
      await using hold = await Hold.take(metadata.leases, "default", "bench");
      await hold.content(await digestOf("nothing"));
      waits.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const beside = [beat(), lease()];
  const [began, before] = [performance.now(), process.cpuUsage()];
  const collected = await collectGarbage({ ...room, graceMs: -1000 });
  const took = performance.now() - began;
  const { user, system } = process.cpuUsage(before);
  over = true;
  await Promise.all(beside);
  const { name } = await currentHost();
  console.log(
    `${name}: ${layers} layers and ${blobs} blobs, of which ${collected.snapshots.length} and ${collected.blobs} went in ` +
      `${(took / 1000).toFixed(1)} s (${((user + system) / 1e6).toFixed(1)} s of processor); the loop stood still for ${
        milliseconds(Math.max(...pauses))
      } ms at most ` +
      `(99 %: ${milliseconds(quantile(pauses, 0.99))}) and worked for ${milliseconds(Math.max(...worked))} in one go ` +
      `(99 %: ${milliseconds(quantile(worked, 0.99))}), a lease took ${milliseconds(Math.max(...waits))} ms at most ` +
      `(99 %: ${milliseconds(quantile(waits, 0.99))})`,
  );
  for (const { what, error } of collected.problems.slice(0, 5)) console.log(`  ${what}: ${String(error)}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
