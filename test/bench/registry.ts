/*
 * Pushes to and pulls from the registry inside, beside docker-registry, with the same clients in turns: skopeo with an
 * image of four layers, and with a small one, and curl with one blob, which leaves out what a client computes.
 *
 *     node test/bench/registry.ts [MiB]      (or deno run -A, bun)
 */
import { execFile } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { currentHost } from "../../src/host/mod.ts";
import { registryEnv, tokens } from "../registry/client.ts";
import { digestOfBytes, LayoutFolder } from "../support/layout_folder.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { startRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";
import { milliseconds, quantile } from "./figures.ts";

const mebibytes = Number(process.argv[2] ?? 128);
const rounds = 7;
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

interface Server {
  readonly host: string;
  /** As `user:password`; docker-registry is asked without, since its password hash takes longer than what is measured. */
  readonly login: string | undefined;
}

/** Times by what was measured, and of whom. */
const times = new Map<string, number[][]>();

async function timed(what: string, server: number, work: () => Promise<unknown>): Promise<void> {
  const begin = performance.now();
  await work();
  const all = times.get(what) ?? [[], []];
  all[server]?.push(performance.now() - begin);
  times.set(what, all);
}

function random(byteLength: number): Uint8Array<ArrayBuffer> {
  return randomFillSync(new Uint8Array(byteLength));
}

/** An image that no registry knows any blob of. Its layers cannot be made smaller, and are packed already. */
function makeImage(path: string, layers: readonly number[]): string {
  const layout = new LayoutFolder(path);
  const archives = layers.map(random);
  const config = layout.put(mediaTypes.config, {
    os: "linux",
    architecture: "amd64",
    rootfs: { type: "layers", diff_ids: archives.map(digestOfBytes) },
  });
  const packed = archives.map((archive) => layout.put(mediaTypes.layerGzip, gzipSync(archive, { level: 0 })));
  const manifest = layout.put(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config,
    layers: packed,
  });
  layout.name({ image: manifest });
  return `oci:${path}:image`;
}

async function skopeo(from: string, to: string, side: "src" | "dest", { login }: Server): Promise<void> {
  const access = [`--${side}-tls-verify=false`, ...(login === undefined ? [] : [`--${side}-creds=${login}`])];
  await run("skopeo", ["--insecure-policy", "copy", "-q", "--preserve-digests", ...access, from, to]);
}

async function curl(server: Server, ...args: readonly string[]): Promise<string> {
  const login = server.login === undefined ? [] : ["-u", server.login];
  return (await run("curl", ["-sSf", ...login, ...args])).stdout;
}

async function round(number: number, servers: readonly Server[]): Promise<void> {
  const at = join(folder, String(number));
  const images = {
    large: makeImage(`${at}-large`, [1, 1, 1, 1].map(() => mebibytes << 18)),
    small: makeImage(`${at}-small`, [1 << 20]),
  };
  const file = `${at}-blob`;
  const bytes = random(mebibytes << 20);
  writeFileSync(file, bytes);
  const digest = digestOfBytes(bytes);
  // Who is first in one round is second in the next.
  for (const index of number % 2 === 0 ? [0, 1] : [1, 0]) {
    const server = servers[index];
    if (server === undefined) continue;
    for (const [size, image] of Object.entries(images)) {
      const there = `docker://${server.host}/bench/${size}:${number}`;
      await timed(`skopeo push, ${size} image`, index, () => skopeo(image, there, "dest", server));
      const copy = `${at}-copy`;
      await timed(`skopeo pull, ${size} image`, index, () => skopeo(there, `oci:${copy}:image`, "src", server));
      rmSync(copy, { recursive: true });
    }
    const repository = `http://${server.host}/v2/bench/blob/blobs`;
    const begun = await curl(server, "-X", "POST", "-D", "-", `${repository}/uploads/`);
    const location = new URL(/^location: (\S+)/im.exec(begun)?.[1] ?? "", repository);
    location.searchParams.set("digest", digest);
    const type = ["-H", "Content-Type: application/octet-stream", "-H", "Expect:"];
    await timed("curl push, one blob", index, () => curl(server, ...type, "-T", file, location.href));
    await timed("curl pull, one blob", index, () => curl(server, "-o", "/dev/null", `${repository}/${digest}`));
  }
  for (const path of [`${at}-large`, `${at}-small`, file]) rmSync(path, { recursive: true });
}

try {
  await using peer = await startRegistry();
  await using daemon = await MayflyProcess.start(
    join(folder, "daemon"),
    ["--registry-listen", "127.0.0.1:0", "--log-level", "warn"],
    registryEnv,
  );
  const host = await until(() => /listens on http:\/\/(\S+)\/v2\//.exec(daemon.log())?.[1]);
  const servers = [{ host, login: `default:${tokens.default}` }, { host: peer.host, login: undefined }];
  for (let number = 0; number < rounds; number++) await round(number, servers);
  const { name } = await currentHost();
  console.log(`${name}: ${mebibytes} MiB, ms (median of ${rounds})   mayfly   docker-registry   ratio`);
  for (const [what, [own = [], other = []]] of times) {
    const [mine, theirs] = [quantile(own, 0.5), quantile(other, 0.5)];
    console.log(
      `  ${what.padEnd(36)} ${milliseconds(mine)}           ${milliseconds(theirs)}    ${(mine / theirs).toFixed(2)}`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
