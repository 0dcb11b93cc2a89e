/*
 * What each verb of a container costs, on the native runtime in this process and by the command lines of crun and runc with
 * the same config.json, in turns; what many of them take.
 *
 *     node test/bench/containers.ts [turns] [many] [repeats]      (or deno run -A, bun)
 *
 * Of the others the start of their process is taken off in pairs: each turn less the starts right before it; in brackets
 * are the quartiles. Memory is what /proc/meminfo says when it has settled, before and with all of them.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { native } from "../../runtimes/native/mod.ts";
import { silent } from "../../src/core/logger.ts";
import type { CreateTask, Runtime } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { demand, type Task } from "../../src/core/task.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { specOf } from "./bare.ts";
import { milliseconds as ms, quantile, quartiles } from "./figures.ts";
import { makeTiny, Peer, peers } from "./peers.ts";

const turns = Number(process.argv[2] ?? 10);
const many = Number(process.argv[3] ?? 1000);
const repeats = Number(process.argv[4] ?? 3);
const rounds = 5;
const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "mayfly-bench-"));
const root = join(folder, "root");
const cgroupParent = `/mayfly-bench-${process.pid}`;
let count = 0;

const specs = new Map<string, Spec>();

/** The same configuration for all that run the same, as the others read the same file each time. */
function configured(args: readonly string[]): Spec {
  const key = args.join(" ");
  const spec = specs.get(key) ?? specOf(args);
  specs.set(key, spec);
  return spec;
}

function optionsOf(args: readonly string[]): CreateTask {
  return {
    id: `b${process.pid}-${count++}`,
    spec: configured(args),
    rootfs: { mounts: [{ type: "bind", source: root, options: ["rbind", "ro"] }], scratch: { sizeBytes: 64 << 20 } },
    stdio: { stdin: false, stdout: false, stderr: false },
  };
}

async function running(runtime: Runtime): Promise<Task> {
  const task = await runtime.create(optionsOf(["/bin/sleep", "1000"]));
  await task.start();
  return task;
}

/** One verb: what it is in this process, and what it is to a shell. */
interface Verb {
  readonly name: string;
  /** Does it some times. @returns milliseconds each. */
  readonly own: (runtime: Runtime, times: number) => Promise<number[]>;
  /** The same by a peer, without the starts of its processes. */
  readonly peer: (peer: Peer, times: number) => number[];
  /** What the peer's containers run. */
  readonly args: readonly string[];
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Times something on one container that runs. */
async function onOne(runtime: Runtime, times: number, work: (task: Task) => Promise<unknown>): Promise<number[]> {
  const task = await running(runtime);
  try {
    const all: number[] = [];
    for (let i = 0; i < times; i++) all.push(await timed(() => work(task)));
    return all;
  } finally {
    await task.delete();
  }
}

const sleeper = {
  before: "$rt run -d --bundle $bundle bench-$i </dev/null >/dev/null 2>&1 || exit 1",
  after: "$rt delete -f bench-$i",
};

/** Around commands on one container of a peer's that runs. */
const withSleeper = {
  first: "$rt run -d --bundle $bundle bench </dev/null >/dev/null 2>&1 || exit 1",
  last: "$rt delete -f bench",
};

const verbs: readonly Verb[] = [
  {
    name: "create, start, delete",
    own: async (runtime, times) => {
      const all: number[] = [];
      for (let i = 0; i < times; i++) {
        all.push(
          await timed(async () => {
            const task = await runtime.create(optionsOf(["/bin/tiny"]));
            await task.start();
            await task.wait();
            await task.delete();
          }),
        );
      }
      return all;
    },
    peer: (peer, times) =>
      peer.time("eval '$rt create --bundle $bundle bench-$i && $rt start bench-$i && $rt delete -f bench-$i'", times, {
        starts: 3,
      }),
    args: ["/bin/tiny"],
  },
  {
    name: "exec",
    own: (runtime, times) =>
      onOne(runtime, times, async (task) => {
        const stdio = { stdin: false, stdout: false, stderr: false };
        const { process } = configured(["/bin/tiny"]);
        const child = await demand(task, "exec").exec({ id: `e${count++}`, process, stdio });
        await child.wait();
        await child.delete();
      }),
    peer: (peer, times) => peer.time("$rt exec bench /bin/tiny", times, { ...withSleeper, starts: 1 }),
    args: ["/bin/sleep", "1000"],
  },
  {
    name: "pause, resume",
    own: (runtime, times) =>
      onOne(runtime, times, async (task) => {
        await demand(task, "pause").pause();
        await demand(task, "pause").resume();
      }),
    peer: (peer, times) =>
      peer.time("eval '$rt pause bench && $rt resume bench'", times, { ...withSleeper, starts: 2 }),
    args: ["/bin/sleep", "1000"],
  },
  {
    name: "kill, wait",
    own: async (runtime, times) => {
      const all: number[] = [];
      for (let i = 0; i < times; i++) {
        const task = await running(runtime);
        all.push(
          await timed(async () => {
            await task.kill();
            await task.wait();
          }),
        );
        await task.delete();
      }
      return all;
    },
    // Nobody in the shell waits for it: it has ended when its state says so.
    peer: (peer, times) =>
      peer.time("eval '$rt kill bench-$i KILL; until ended; do :; done'", times, {
        before: `${sleeper.before}
          pid=$($rt state bench-$i | sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p')
          ended() { local stat; read -r stat 2>/dev/null </proc/$pid/stat || return 0; [[ $stat == *") Z "* ]]; }`,
        after: sleeper.after,
        starts: 1,
      }),
    args: ["/bin/sleep", "1000"],
  },
];

async function compare(runtime: Runtime, verb: Verb): Promise<void> {
  using cleanup = new DisposableStack();
  const others = peers.map((name) => ({
    peer: cleanup.use(new Peer({ name, folder, root, cgroupParent, args: verb.args })),
    times: [] as number[],
  }));
  const own: number[] = [];
  await verb.own(runtime, 10);
  for (let round = 0; round < rounds; round++) {
    own.push(...await verb.own(runtime, turns * 4));
    for (const { peer, times } of others) {
      times.push(...verb.peer(peer, turns));
    }
  }
  const median = quantile(own, 0.5);
  const ratios = others.map(({ peer, times }) => {
    const [low, theirs, high] = quartiles(times);
    const ratio = (theirs / median).toFixed(1).padStart(6);
    return `${peer.name}${ms(theirs)} (${low.toFixed(2)} to ${high.toFixed(2)}) ${ratio} times native`;
  });
  console.log(`${verb.name.padEnd(24)}${ms(median)}${ms(quantile(own, 0.9))}   ${ratios.join("   ")}`);
}

/** What containers take of the machine's memory, by the names that /proc/meminfo has. Caches of files are not among it. */
const counted = ["AnonPages", "Shmem", "SUnreclaim", "KernelStack", "PageTables", "Percpu"];

/** Kernel and user memory in use, in KiB. */
function usedKiB(): number {
  const text = readFileSync("/proc/meminfo", "utf8");
  const value = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  return counted.reduce((sum, name) => sum + value(name), 0);
}

/** The same when the kernel has freed what it frees some time after: when it grows and shrinks no more, the median of some looks. */
async function settledKiB(): Promise<number> {
  const looks: number[] = [];
  for (let look = 0; look < 100; look++) {
    looks.push(usedKiB());
    const last = looks.slice(-10);
    if (last.length === 10 && Math.max(...last) - Math.min(...last) < 512) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return quantile(looks.slice(-10), 0.5);
}

/** What the kernel has charged to a cgroup and all below it, in KiB: nobody else's memory is among it, and not all of the kernel's. */
function chargedKiB(path: string): number {
  for (const file of [`memory${path}/memory.usage_in_bytes`, `${path.slice(1)}/memory.current`]) {
    const full = join("/sys/fs/cgroup", file);
    if (existsSync(full)) return Number(readFileSync(full, "utf8")) / 1024;
  }
  return 0;
}

/** What it was to make many, hold them, and delete them. */
interface Held {
  /** A second. */
  readonly made: number;
  readonly deleted: number;
  /** Of the machine. */
  readonly kibEach: number;
  /** Of that, what is charged to the containers' cgroups. */
  readonly chargedEach: number;
}

async function holdOwn(runtime: Runtime, start: boolean): Promise<Held> {
  const [before, charged] = [await settledKiB(), chargedKiB(cgroupParent)];
  const began = performance.now();
  const tasks: Task[] = [];
  for (let i = 0; i < many; i++) {
    const task = await runtime.create(optionsOf(["/bin/sleep", "1000"]));
    tasks.push(task);
    if (start) await task.start();
  }
  const made = many / ((performance.now() - began) / 1000);
  const kibEach = (await settledKiB() - before) / many;
  const chargedEach = (chargedKiB(cgroupParent) - charged) / many;
  const ending = performance.now();
  await Promise.all(tasks.map((task) => task.delete()));
  return { made, kibEach, chargedEach, deleted: many / ((performance.now() - ending) / 1000) };
}

async function holdPeers(peer: Peer, start: boolean): Promise<Held> {
  const path = `${cgroupParent}-${peer.name}`;
  const [before, charged] = [await settledKiB(), chargedKiB(path)];
  const perSecond = (times: readonly number[]) => many / (times.reduce((sum, each) => sum + each, 0) / 1000);
  const verb = start ? "run -d" : "create";
  const made = perSecond(peer.time(`$rt ${verb} --bundle $bundle many-$i`, many, { starts: 1 }));
  const kibEach = (await settledKiB() - before) / many;
  const chargedEach = (chargedKiB(path) - charged) / many;
  return { made, kibEach, chargedEach, deleted: perSecond(peer.time("$rt delete -f many-$i", many, { starts: 1 })) };
}

/** Holds many, in turns. */
async function hold(runtime: Runtime, title: string, start: boolean): Promise<void> {
  using cleanup = new DisposableStack();
  const sides: { name: string; hold: () => Promise<Held>; all: Held[] }[] = [
    { name: "native", hold: () => holdOwn(runtime, start), all: [] },
  ];
  for (const name of peers.filter((each) => each === "crun")) {
    const peer = cleanup.use(new Peer({ name, folder, root, cgroupParent, args: ["/bin/sleep", "1000"] }));
    sides.push({ name, hold: () => holdPeers(peer, start), all: [] });
  }
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const { hold, all } of sides) all.push(await hold());
  }
  const own = quantile(sides[0]?.all.map(({ made }) => made) ?? [], 0.5);
  for (const { name, all } of sides) {
    const figure = (read: (held: Held) => number) => {
      const [low, middle, high] = quartiles(all.map(read));
      return `${middle.toFixed(0).padStart(6)} (${low.toFixed(0)} to ${high.toFixed(0)})`;
    };
    const ratio = own / quantile(all.map(({ made }) => made), 0.5);
    console.log(
      `${`${name}, ${title}`.padEnd(24)}${figure(({ made }) => made)} per second, ${
        figure(({ kibEach }) => kibEach)
      } KiB each, ${figure(({ chargedEach }) => chargedEach)} of it charged, deleted ${
        figure(({ deleted }) => deleted)
      } per second` +
        (name === "native" ? "" : `, native is ${ratio.toFixed(1)} times as fast`),
    );
  }
}

try {
  makeBusyboxRoot(root);
  if (!makeTiny(join(root, "bin/tiny"))) throw new Error("cannot measure without a C compiler: apt-get install gcc");
  const get = (): never => {
    throw new Error("the native runtime needs no other plugin");
  };
  await using cleanup = new AsyncDisposableStack();
  const runtime: Runtime & Partial<AsyncDisposable> = await native.create({
    host,
    root: folder,
    run: join(folder, "run"),
    config: { cgroupParent },
    log: silent,
    get,
  });
  cleanup.defer(async () => await runtime[Symbol.asyncDispose]?.());
  console.log(`${host.name} ${host.version}, ${turns * rounds} turns, full default configuration, milliseconds`);
  console.log(
    `${"".padEnd(24)}${"p50".padStart(7)}${"p90".padStart(7)}   the others without the start of their process`,
  );
  for (const verb of verbs) await compare(runtime, verb);
  await hold(runtime, `${many} created`, false);
  await hold(runtime, `${many} running`, true);
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
