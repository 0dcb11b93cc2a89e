/*
 * What one fresh container costs with the full default configuration: create → start → exit → delete in this process, and
 * `crun run` and `runc run` with the same config.json on a root filesystem that is mounted already.
 *
 *     node test/bench/lifecycle.ts [runs]      (or deno run -A, bun)
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { native } from "../../runtimes/native/mod.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { generateSpec, specTemplate, withRequest } from "../../src/tasks/spec.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";

const runs = Number(process.argv[2] ?? 200);
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
const root = join(folder, "root");
const cgroupParent = `/mayfly-bench-${process.pid}`;

/** A program of a few hundred bytes: what is left is the kernel's and the runtime's. */
function makeTiny(path: string): boolean {
  const source = 'void _start(void){__asm__ volatile("mov $60,%eax; xor %edi,%edi; syscall");}';
  const flags = [
    "-static",
    "-nostdlib",
    "-Os",
    "-s",
    "-Wl,--build-id=none,-z,noseparate-code",
    "-x",
    "c",
    "-",
    "-o",
    path,
  ];
  return spawnSync("cc", flags, { input: source }).status === 0;
}

const rootfs: Rootfs = {
  mounts: [{ type: "bind", source: root, options: ["rbind", "ro"] }],
  scratch: { sizeBytes: 64 << 20 },
};

function specOf(args: readonly string[]): Spec {
  const image = { os: "linux", architecture: "amd64", rootfs: { type: "layers" as const, diff_ids: [] } };
  const settings = { command: [...args], memoryBytes: 256 << 20, cpus: 1, pids: 512 };
  const spec = generateSpec({ image, id: "bench", settings });
  const { cgroupsPath: _, ...linux } = spec.linux;
  return { ...spec, linux };
}

let count = 0;
type Steps = Record<"create" | "start" | "exit" | "delete", number[]>;

async function once(runtime: Runtime, spec: ReturnType<typeof specTemplate>, steps?: Steps): Promise<number> {
  const id = `b${process.pid}-${count++}`;
  const began = performance.now();
  const request = withRequest(spec, { id, env: { REQUEST: id } });
  const task = await runtime.create({ id, spec: { ...request, linux: spec.spec.linux }, rootfs });
  const created = performance.now();
  await task.start();
  const started = performance.now();
  await task.wait();
  const exited = performance.now();
  await task.delete();
  const deleted = performance.now();
  steps?.create.push(created - began);
  steps?.start.push(started - created);
  steps?.exit.push(exited - started);
  steps?.delete.push(deleted - exited);
  return deleted - began;
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
}
const ms = (value: number) => value.toFixed(2).padStart(7);

async function measureNative(runtime: Runtime, name: string, args: readonly string[]): Promise<number> {
  const template = specTemplate(specOf(args));
  for (let i = 0; i < 20; i++) await once(runtime, template);
  const steps: Steps = { create: [], start: [], exit: [], delete: [] };
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await once(runtime, template, steps));
  const parts = Object.entries(steps).map(([step, values]) => `${step} ${quantile(values, 0.5).toFixed(2)}`).join(", ");
  console.log(`${`native, ${name}`.padEnd(28)}${ms(quantile(times, 0.5))}${ms(quantile(times, 0.9))}   ${parts}`);

  const began = performance.now();
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let i = 0; i < runs / 8; i++) await once(runtime, template);
  }));
  const each = (performance.now() - began) / (Math.ceil(runs / 8) * 8);
  console.log(`${"  8 at once".padEnd(28)}${ms(each)} each          ${Math.round(1000 / each)} per second`);
  return quantile(times, 0.5);
}

/** Times a command in a shell's loop, in a mount namespace without the hybrid hierarchy, which crun 1.8 refuses. */
function measureCommand(command: string, times: number): number {
  const script = `umount /sys/fs/cgroup/unified 2>/dev/null
    for i in $(seq ${times}); do a=$EPOCHREALTIME; ${command} </dev/null >/dev/null || exit 1; echo $a $EPOCHREALTIME >&3; done`;
  const result = spawnSync("unshare", ["-m", "bash", "-c", script], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    encoding: "utf8",
  });
  if (result.status !== 0) throw new Error(`${command}: ${result.stderr}`);
  const values = (result.output[3] ?? "").trim().split("\n").map((line) => {
    const [from = "", to = ""] = line.split(" ");
    return (Number(to) - Number(from)) * 1000;
  });
  return quantile(values, 0.5);
}

function measureReference(name: string, args: readonly string[]): number | undefined {
  if (spawnSync(name, ["--version"]).status !== 0) return undefined;
  const bundle = join(folder, `bundle-${name}`);
  const rootPath = join(bundle, "rootfs");
  for (const each of ["upper", "work", "rootfs"]) mkdirSync(join(bundle, each), { recursive: true });
  const options = `lowerdir=${root},upperdir=${bundle}/upper,workdir=${bundle}/work`;
  execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, rootPath]);
  try {
    const spec = specOf(args);
    const config = {
      ...spec,
      root: { path: "rootfs" },
      linux: { ...spec.linux, cgroupsPath: `${cgroupParent}-${name}/x` },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
    const times = Math.max(5, Math.min(20, runs / 10));
    const command = `${name} --root ${folder}/state run --bundle ${bundle} bench-$i`;
    const start = measureCommand(`${name} --version`, times);
    return measureCommand(command, times) - start;
  } finally {
    execFileSync("umount", [rootPath]);
  }
}

try {
  makeBusyboxRoot(root);
  const tiny = makeTiny(join(root, "bin/tiny"));
  const run = join(folder, "run");
  const get = (): never => {
    throw new Error("the native runtime needs no other plugin");
  };
  const runtime = await native.create({ host, root: folder, run, config: { cgroupParent }, get });
  console.log(`${host.name} ${host.version}, ${runs} runs, full default configuration, milliseconds`);
  console.log(`${"".padEnd(28)}${"p50".padStart(7)}${"p90".padStart(7)}`);
  const own = await measureNative(runtime, "busybox true", ["/bin/true"]);
  const least = tiny ? await measureNative(runtime, "an empty program", ["/bin/tiny"]) : undefined;
  for (const name of ["crun", "runc"]) {
    const time = measureReference(name, ["/bin/true"]);
    if (time === undefined) {
      console.log(`${name} is not installed`);
      continue;
    }
    const ratio = `native is ${(time / own).toFixed(1)} times as fast`;
    console.log(`${`${name} run, busybox true`.padEnd(28)}${ms(time)}           ${ratio}`);
    if (least !== undefined) {
      const other = measureReference(name, ["/bin/tiny"]) ?? NaN;
      console.log(`${"  an empty program".padEnd(28)}${ms(other)}           ${(other / least).toFixed(1)} times`);
    }
  }
} finally {
  for (const name of ["memory", "pids", "cpu", "cpuacct", "devices", "blkio", "."]) {
    for (const suffix of ["", "-crun", "-runc"]) {
      const path = `/sys/fs/cgroup/${name}${cgroupParent}${suffix}`;
      if (existsSync(path)) rmdirSync(path);
    }
  }
  rmSync(folder, { recursive: true, force: true });
}
// Waiting for children keeps no process alive, open timers of a host may.
process.exit(0);
