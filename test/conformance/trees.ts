/*
 * A Debian image of four layers, unpacked by every snapshotter, by umoci and by containerd: all trees have to be the same,
 * in bytes and in metadata, and a container that has done nothing has to have no changes. `npm run conformance:trees`, or
 * on Deno and Bun; it wants root, mmdebstrap, umoci, skopeo, docker-registry and containerd, whose daemon is a private one.
 *
 *     node test/conformance/trees.ts [base.tar]       (of mmdebstrap --variant=minbase; default: a new one)
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { btrfs } from "../../snapshotters/btrfs/mod.ts";
import { erofs } from "../../snapshotters/erofs/mod.ts";
import { currentHost } from "../../src/host/mod.ts";
import { mounted } from "../images/mounted.ts";
import { openRoom } from "../images/room.ts";
import { describeTree } from "../images/tree.ts";
import { mountBtrfs } from "../support/btrfs_mount.ts";
import { startRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";

const folder = mkdtempSync(join(tmpdir(), "mayfly-trees-"));
const run = (program: string, ...args: readonly string[]) =>
  execFileSync(program, args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", maxBuffer: 64 << 20 });

/**
 * What further layers do to the first, in the root of its tree. A folder becomes a file over two layers: containerd cannot
 * take what umoci writes where that is in one.
 */
const changes = [
  `
  chroot . dpkg --purge --force-remove-essential --force-depends --force-all apt >/dev/null 2>&1 || true
  rm -rf usr/share/man usr/share/zoneinfo var/cache/debconf
  mv usr/share/doc usr/share/documents
  ln usr/bin/perl usr/local/perl && ln -s ../nowhere usr/local/link
  chmod 4711 usr/bin/find && chown 12:34 usr/bin/find
  python3 -c 'import os
os.setxattr("usr/bin/find", "user.note", b"two")
os.setxattr("usr/bin/chage", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))'
  touch -d '2001-02-03 04:05:06.123456789' usr/bin/find && mkfifo run/pipe && mknod dev/odd c 1 5`,
  `
  echo file > var/cache/debconf
  rm -r usr/share/documents && mkdir usr/share/documents && echo new > usr/share/documents/new
  rm usr/bin/perl run/pipe && echo "# more" >> etc/bash.bashrc && mkdir -p usr/share/man/man1`,
  `
  rm var/cache/debconf && mkdir var/cache/debconf && echo again > var/cache/debconf/file`,
];

/** @returns the layout's folder, with the image under `debian`. */
function makeImage(base: string): string {
  const layout = join(folder, "layout");
  const bundle = join(folder, "bundle");
  run("umoci", "init", "--layout", layout);
  run("umoci", "new", "--image", `${layout}:debian`);
  run("umoci", "unpack", "--image", `${layout}:debian`, bundle);
  const tree = join(bundle, "rootfs");
  run("tar", "-C", tree, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", base);
  for (const change of ["", ...changes]) {
    run("sh", "-ec", `cd '${tree}'${change}`);
    run("umoci", "repack", "--refresh-bundle", "--image", `${layout}:debian`, bundle);
  }
  return layout;
}

/** Unpacks an image with a containerd of its own. */
async function withContainerd(name: string, use: (path: string) => void): Promise<void> {
  const at = join(folder, "containerd");
  const address = join(at, "containerd.sock");
  mkdirSync(join(at, "view"), { recursive: true });
  const disabled = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.internal.v1.opt"];
  writeFileSync(join(at, "config.toml"), `version = 2\ndisabled_plugins = ${JSON.stringify(disabled)}\n`);
  const places = ["--config", join(at, "config.toml"), "--root", join(at, "root"), "--state", join(at, "state")];
  const daemon = spawn("containerd", [...places, "--address", address, "--log-level", "error"], { stdio: "ignore" });
  const ended = new Promise((resolve) => daemon.once("exit", resolve));
  const ctr = (...args: readonly string[]) => run("ctr", "--address", address, ...args);
  try {
    await until(() => existsSync(address));
    ctr("images", "pull", "--plain-http", name);
    ctr("images", "mount", name, join(at, "view"));
    try {
      use(join(at, "view"));
    } finally {
      ctr("images", "unmount", join(at, "view"));
    }
  } finally {
    daemon.kill("SIGTERM");
    await ended;
  }
}

/** Lines of `describeTree` without the times of folders. */
function timeless(lines: readonly string[]): readonly string[] {
  return lines.map((line) => line.replace(/^(.* 4\d{4} \d+:\d+) \d+/, "$1"));
}

/** Prints how two trees differ, which is a failure. */
function same(what: string, lines: readonly string[], wanted: readonly string[]): void {
  const [more, less] = [lines.filter((line) => !wanted.includes(line)), wanted.filter((line) => !lines.includes(line))];
  console.log(`${what}: ${lines.length} files, ${more.length + less.length} lines differ`);
  if (more.length + less.length === 0) return;
  for (const line of more.slice(0, 10)) console.log(`  has   ${line}`);
  for (const line of less.slice(0, 10)) console.log(`  wants ${line}`);
  process.exitCode = 1;
}

try {
  const base = process.argv[2] ?? join(folder, "base.tar");
  if (!existsSync(base)) run("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", base);
  const layout = makeImage(base);
  await using registry = await startRegistry();
  await registry.push(`oci:${layout}:debian`, "trees/debian:1");
  const name = `${registry.host}/trees/debian:1`;
  console.log((await currentHost()).name);

  for (const [place, plugin] of [[join(folder, "root"), erofs], [undefined, btrfs]] as const) {
    using disk = place === undefined ? mountBtrfs() : undefined;
    await using room = await openRoom(place ?? `${disk?.path}/root`, undefined, [plugin]);
    const image = await room.images.pull("default", name);
    const { manifestDigest, layers } = await room.images.config(image.target);
    console.log(`${layers.length} layers`);
    // The root folder itself is the bundle's for umoci, and no entry of the archive for all.
    const describe = (path: string) => describeTree(room.kernel, path).slice(1);
    run("umoci", "unpack", "--image", `${layout}:debian`, join(folder, "umoci"));
    const wanted = describe(join(folder, "umoci/rootfs"));
    rmSync(join(folder, "umoci"), { recursive: true });
    // What a layer changes in a folder that it does not name changes the folder's time for containerd, and for nobody else.
    if (place !== undefined) {
      await withContainerd(name, (path) => {
        same("containerd and umoci, but times of folders", timeless(describe(path)), timeless(wanted));
      });
    }
    for (const [id, snapshotter] of room.snapshotters) {
      if (place === undefined && id !== "btrfs") continue;
      const mounts = await snapshotter.prepare("tree", await room.images.unpack(manifestDigest, id));
      await mounted(mounts, (path) => same(`${id} and umoci`, describe(path), wanted));
      const changed = await room.images.diff(id, "tree");
      console.log(`${id}: ${changed.length} changes`);
      if (changed.length > 0) process.exitCode = 1;
      await snapshotter.remove("tree");
    }
  }
} finally {
  // What is still mounted there is not to be removed.
  if (readFileSync("/proc/mounts", "utf8").includes(folder)) console.error(`something is still mounted in ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
}
