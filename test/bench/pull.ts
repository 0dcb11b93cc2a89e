/*
 * A pull, from a registry on this machine to files that a container can have as its root, into overlay's folders and into
 * EROFS images, beside podman, containerd and skopeo with umoci, in turns, each time on a new filesystem: what is deleted
 * and pulled again on an old one measures how that uses its inodes again.
 *
 *     node test/bench/pull.ts [rounds]      (or deno run -A, bun)
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { readConfig } from "../../src/config.ts";
import { openDaemon } from "../../src/daemon.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { startRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";
import { quantile } from "./figures.ts";

const rounds = Number(process.argv[2] ?? 5);
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));

/** A filesystem of its own, for one pull. */
class Disk implements Disposable {
  readonly path = join(folder, "disk");

  constructor() {
    const image = join(folder, "disk.img");
    writeFileSync(image, "");
    truncateSync(image, 4 * 2 ** 30);
    execFileSync("mkfs.ext4", ["-q", "-E", "lazy_itable_init=1,nodiscard", image]);
    mkdirSync(this.path, { recursive: true });
    execFileSync("mount", ["-o", "loop", image, this.path]);
  }

  [Symbol.dispose](): void {
    execFileSync("umount", ["-l", this.path]);
    rmSync(join(folder, "disk.img"));
  }
}

/** Milliseconds that a pull takes on a disk. */
type Puller = (name: string, disk: string) => Promise<number>;

async function timed(work: () => unknown): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function run(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program}: ${stderr}`);
}

/** A pull into a snapshotter, by a daemon that runs. */
function into(snapshotter: string): Puller {
  return async (name, disk) => {
    const flags = { root: join(disk, "root"), run: join(folder, "run"), listen: "off", "log-level": "warn" };
    await using daemon = await openDaemon(host, readConfig({ flags }));
    return await timed(async () => {
      const request = { method: "POST", headers: { "content-type": "application/json" } };
      const body = JSON.stringify({ reference: name, snapshotter });
      const answer = await daemon.fetch(new Request("http://mayfly/v1/images", { ...request, body }));
      const text = await answer.text();
      if (!text.includes('"image"')) throw new Error(text);
    });
  };
}

const pullers: Record<string, Puller> = {
  mayfly: into("overlay"),
  "mayfly erofs": into("erofs"),
  podman(name, disk) {
    const storage = ["--root", join(disk, "root"), "--runroot", join(disk, "run")];
    return timed(() => run("podman", [...storage, "pull", "-q", "--tls-verify=false", name]));
  },
  skopeo_umoci(name, disk) {
    return timed(() => {
      run("skopeo", ["copy", "-q", "--src-tls-verify=false", `docker://${name}`, `oci:${disk}/layout:x`]);
      run("umoci", ["unpack", "--image", `${disk}/layout:x`, `${disk}/bundle`]);
    });
  },
  async containerd(name, disk) {
    const address = join(disk, "containerd.sock");
    const config = join(disk, "config.toml");
    const disabled = [
      "io.containerd.grpc.v1.cri",
      "io.containerd.snapshotter.v1.btrfs",
      "io.containerd.internal.v1.opt",
    ];
    writeFileSync(config, `version = 2\ndisabled_plugins = ${JSON.stringify(disabled)}\n`);
    const args = [
      "--config",
      config,
      "--root",
      join(disk, "root"),
      "--state",
      join(disk, "state"),
      "--address",
      address,
    ];
    const daemon = spawn("containerd", [...args, "--log-level", "error"], { stdio: "ignore" });
    const ended = new Promise((resolve) => daemon.once("exit", resolve));
    try {
      await until(() => existsSync(address));
      await until(() => spawnSync("ctr", ["--address", address, "version"]).status === 0);
      return await timed(() => run("ctr", ["--address", address, "images", "pull", "--plain-http", name]));
    } finally {
      daemon.kill("SIGTERM");
      await ended;
    }
  },
};

function archive(...paths: readonly string[]): Uint8Array {
  return execFileSync("tar", ["-C", "/", "--ignore-failed-read", "-cf", "-", ...paths], { maxBuffer: 2 ** 30 });
}

try {
  await using registry = await startRegistry();
  makeBusyboxImage(folder, "tiny:1");
  await registry.push(`oci:${join(folder, "layout")}:tiny:1`, "bench/tiny:1");
  const images: [name: string, what: string][] = [[`${registry.host}/bench/tiny:1`, "busybox alone"]];
  const made = new LayoutFolder(join(folder, "made"));
  const layers = [
    archive("usr/lib/python3", "usr/lib/python3.11"),
    archive("usr/share/perl", "usr/share/zoneinfo"),
    archive("usr/include/linux", "usr/include/c++", "etc"),
    archive("usr/share/doc"),
  ];
  for (const form of ["gzip", "zstd"] as const) {
    const descriptors = layers.map((layer) => made.layer(layer, form));
    const manifest = made.imageOf(descriptors, layers);
    await registry.push(`oci:${made.name({ [`${form}:1`]: manifest })}:${form}:1`, `bench/${form}:1`);
    const bytes = layers.reduce((sum, layer) => sum + layer.length, 0);
    images.push([`${registry.host}/bench/${form}:1`, `${layers.length} layers, ${bytes >> 20} MiB, ${form}`]);
  }
  const names = Object.keys(pullers).filter((name) =>
    name.startsWith("mayfly") || name.split("_").every((program) => spawnSync(program, ["--version"]).status === 0)
  );
  console.log(`${host.name} ${host.version}, pulls on a new filesystem, milliseconds`);
  for (const [name, what] of images) {
    const times = new Map<string, number[]>(names.map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const puller of names) {
        // umoci knows gzip alone.
        if (puller === "skopeo_umoci" && what.endsWith("zstd")) continue;
        using disk = new Disk();
        times.get(puller)?.push(await pullers[puller]?.(name, disk.path) ?? NaN);
      }
    }
    console.log(what);
    const ours = quantile(times.get("mayfly") ?? [], 0.5);
    for (const [puller, all] of times) {
      if (all.length === 0) continue;
      const median = quantile(all, 0.5);
      const ratio = puller === "mayfly" ? "" : `   ${(median / ours).toFixed(1)} times mayfly`;
      console.log(`  ${puller.padEnd(14)}${median.toFixed(0).padStart(7)}${ratio}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
