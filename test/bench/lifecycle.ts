/*
 * What one fresh container costs with the full default configuration: create → start → exit → delete in this process, and
 * `crun run` and `runc run` with the same config.json on a root filesystem that is mounted already.
 *
 *     node test/bench/lifecycle.ts [runs]      (or deno run -A, bun)
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { native } from "../../runtimes/native/mod.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { BareLifecycle, specOf, type Steps } from "./bare.ts";
import { milliseconds as ms, quantile } from "./figures.ts";

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

const rounds = 5;

/** Times a command in a shell's loop, in a mount namespace without the hybrid hierarchy, which crun 1.8 refuses. */
function measureCommand(command: string, times: number): number[] {
  const script = `umount /sys/fs/cgroup/unified 2>/dev/null
    for i in $(seq ${times}); do a=$EPOCHREALTIME; ${command} </dev/null >/dev/null 2>&1 || exit 1; echo $a $EPOCHREALTIME; done`;
  const result = spawnSync("unshare", ["-m", "bash", "-c", script], { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`cannot measure: ${command} failed`);
  return result.stdout.trim().split("\n").map((line) => {
    const [from = "", to = ""] = line.split(" ");
    return (Number(to) - Number(from)) * 1000;
  });
}

/** A reference implementation with the same configuration, on an overlay that is mounted already. */
class Reference implements Disposable {
  readonly name: string;
  readonly times: number[] = [];
  readonly starts: number[] = [];
  readonly #bundle: string;

  constructor(name: string, args: readonly string[]) {
    this.name = name;
    this.#bundle = join(folder, `bundle-${name}-${args.join("-").replaceAll("/", "")}`);
    for (const each of ["upper", "work", "rootfs"]) mkdirSync(join(this.#bundle, each), { recursive: true });
    const options = `lowerdir=${root},upperdir=${this.#bundle}/upper,workdir=${this.#bundle}/work`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, join(this.#bundle, "rootfs")]);
    const spec = specOf(args);
    const linux = { ...spec.linux, cgroupsPath: `${cgroupParent}-${name}/x` };
    writeFileSync(join(this.#bundle, "config.json"), JSON.stringify({ ...spec, root: { path: "rootfs" }, linux }));
  }

  measure(): void {
    const times = Math.max(2, Math.round(runs / 100));
    this.starts.push(...measureCommand(`${this.name} --version`, times));
    const command = `${this.name} --root ${folder}/state run --bundle ${this.#bundle} bench-$i`;
    this.times.push(...measureCommand(command, times));
  }

  /** Without the start of its own process. */
  get median(): number {
    return quantile(this.times, 0.5) - quantile(this.starts, 0.5);
  }

  [Symbol.dispose](): void {
    execFileSync("umount", [join(this.#bundle, "rootfs")]);
  }
}

/** Takes turns, so that whatever else the machine does falls on all alike. */
async function compare(runtime: Runtime, title: string, args: readonly string[]): Promise<void> {
  using cleanup = new DisposableStack();
  const bare = new BareLifecycle(runtime, root, args);
  const installed = ["crun", "runc"].filter((name) => spawnSync(name, ["--version"]).status === 0);
  const references = installed.map((name) => cleanup.use(new Reference(name, args)));
  const steps: Steps = { create: [], start: [], exit: [], delete: [] };
  const times: number[] = [];
  await bare.sequential(20);
  for (let round = 0; round < rounds; round++) {
    times.push(...await bare.sequential(runs / rounds, steps));
    for (const reference of references) reference.measure();
  }
  const own = quantile(times, 0.5);
  const parts = Object.entries(steps).map(([step, values]) => `${step} ${quantile(values, 0.5).toFixed(2)}`).join(", ");
  console.log(`${`native, ${title}`.padEnd(28)}${ms(own)}${ms(quantile(times, 0.9))}   ${parts}`);
  for (const { name, median } of references) {
    console.log(
      `${`${name} run, ${title}`.padEnd(28)}${ms(median)}          ${(median / own).toFixed(1)} times native`,
    );
  }
  const perSecond = await bare.perSecond(8, runs);
  console.log(`${"  8 at once".padEnd(28)}${ms(1000 / perSecond)} each          ${Math.round(perSecond)} per second`);
}

try {
  makeBusyboxRoot(root);
  const tiny = makeTiny(join(root, "bin/tiny"));
  const run = join(folder, "run");
  const get = (): never => {
    throw new Error("the native runtime needs no other plugin");
  };
  const runtime: Runtime & Partial<AsyncDisposable> = await native.create({
    host,
    root: folder,
    run,
    config: { cgroupParent },
    get,
  });
  console.log(`${host.name} ${host.version}, ${runs} runs, full default configuration, milliseconds`);
  console.log(`${"".padEnd(28)}${"p50".padStart(7)}${"p90".padStart(7)}`);
  await compare(runtime, "busybox true", ["/bin/true"]);
  if (tiny) await compare(runtime, "an empty program", ["/bin/tiny"]);
  await runtime[Symbol.asyncDispose]?.();
} finally {
  for (const name of [".", ...readdirSync("/sys/fs/cgroup")]) {
    for (const suffix of ["", "-crun", "-runc"]) {
      const path = `/sys/fs/cgroup/${name}${cgroupParent}${suffix}`;
      if (existsSync(path)) rmdirSync(path);
    }
  }
  rmSync(folder, { recursive: true, force: true });
}
// Waiting for children keeps no process alive, open timers of a host may.
process.exit(0);
