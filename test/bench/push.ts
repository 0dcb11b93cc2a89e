/*
 * Pushes of an image of four layers to a local docker-registry, by a daemon that runs and by skopeo, in turns. Each layer is
 * new to the registry, cannot be made smaller, and lies packed on the same disk for both.
 *
 *     node test/bench/push.ts [MiB]      (or deno run -A, bun)
 */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { readConfig } from "../../src/config.ts";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { openDaemon } from "../../src/daemon.ts";
import { currentHost } from "../../src/host/mod.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { startRegistry } from "../support/registry.ts";
import { milliseconds, quantile } from "./figures.ts";

const mebibytes = Number(process.argv[2] ?? 128);
const rounds = 7;
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
const times = { mayfly: [] as number[], skopeo: [] as number[] };

async function timed(who: keyof typeof times, work: () => Promise<unknown>): Promise<void> {
  const begin = performance.now();
  await work();
  times[who].push(performance.now() - begin);
}

try {
  const host = await currentHost();
  await using registry = await startRegistry();
  const flags = { root: join(folder, "root"), run: join(folder, "run"), listen: "off", "log-level": "warn" };
  await using daemon = await openDaemon(host, readConfig({ flags }));
  const post = async (path: string, body: unknown) => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await daemon.fetch(new Request(`http://mayfly/v1/images${path}`, init));
    const text = await answer.text();
    if (!answer.ok || text.includes('"error"')) throw new Error(text);
  };
  const makeImage = (path: string) => {
    const layout = new LayoutFolder(path);
    const archives = [1, 2, 3, 4].map(() => randomFillSync(new Uint8Array(mebibytes << 18)));
    const packed = archives.map((archive) => layout.put(mediaTypes.layerGzip, gzipSync(archive, { level: 0 })));
    layout.name({ image: layout.imageOf(packed, archives) });
    return path;
  };
  for (let round = 0; round < rounds; round++) {
    const image = makeImage(join(folder, "layout"));
    // Two images, so that neither finds the other's layers at the registry; who is first in one round is second in the next.
    const other = makeImage(join(folder, "other"));
    const name = `${registry.host}/bench/mayfly:${round}`;
    await post("/import", { path: image, name });
    const turns = [
      () => timed("mayfly", () => post("/push", { name })),
      () => timed("skopeo", () => registry.push(`oci:${other}:image`, `bench/skopeo:${round}`, ["--preserve-digests"])),
    ];
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
    for (const path of [image, other]) rmSync(path, { recursive: true });
  }
  const [mine, theirs] = [quantile(times.mayfly, 0.5), quantile(times.skopeo, 0.5)];
  console.log(
    `${host.name}: push of ${mebibytes} MiB in 4 layers, ms (median of ${rounds}): mayfly ${milliseconds(mine)}, ` +
      `skopeo ${milliseconds(theirs)}, ${(theirs / mine).toFixed(2)} times faster`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
