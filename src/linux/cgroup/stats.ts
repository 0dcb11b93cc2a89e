import type { TaskStats } from "../../core/task.ts";
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from "../flags.ts";
import type { Kernel } from "../kernel.ts";
import type { Operation } from "../program.ts";

/** What a cgroup used, and how often the kernel killed in it for want of memory. */
export interface CgroupStats extends TaskStats {
  readonly oomKills: number;
}

/** A cgroup's folder in the hierarchy that has a controller. */
export interface Place {
  readonly version: 1 | 2;
  readonly folder: string;
}

export type StatController = "memory" | "cpu" | "pids" | "io";

/** Where each kind of number is found. */
export type StatPlaces = Readonly<Partial<Record<StatController, Place>>>;

const files: Readonly<Record<StatController, Readonly<Record<1 | 2, readonly string[]>>>> = {
  memory: {
    1: ["memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"],
    2: ["memory.current", "memory.peak", "memory.events"],
  },
  cpu: { 1: ["cpuacct.usage"], 2: ["cpu.stat"] },
  pids: { 1: ["pids.current"], 2: ["pids.current"] },
  io: { 1: ["blkio.throttle.io_service_bytes_recursive"], 2: ["io.stat"] },
};

const size = 2048;
const decoder = new TextDecoder();

/** Reads the numbers of a cgroup, in one entry to the kernel. What is not there is undefined. */
export function readStats(kernel: Kernel, places: StatPlaces): CgroupStats {
  const paths = new Map<string, string>();
  for (const [controller, place] of Object.entries(places) as [StatController, Place | undefined][]) {
    if (place === undefined) continue;
    for (const name of files[controller][place.version]) paths.set(name, `${place.folder}/${name}`);
  }
  return parse(readAll(kernel, paths));
}

/** Reads `CgroupStats.oomKills` alone. */
export function readOomKills(kernel: Kernel, { memory }: StatPlaces): number {
  if (memory === undefined) return 0;
  const name = { 1: "memory.oom_control", 2: "memory.events" }[memory.version];
  return oomKillsIn(readAll(kernel, new Map([[name, `${memory.folder}/${name}`]])));
}

/** The texts of those files that are there, by the names that they are given. */
function readAll(kernel: Kernel, paths: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  if (paths.size === 0) return texts;
  const results = kernel.run(Array.from(paths, ([name, path]) => read(name, path)).flat());
  for (const name of paths.keys()) {
    const length = results.get(`${name}:length`);
    if (results.get(`${name}:fd`) >= 0 && length >= 0) {
      texts.set(name, decoder.decode(results.bytes(name).subarray(0, length)));
    }
  }
  return texts;
}

/** A file that cannot be opened is jumped over. */
function read(name: string, path: string): Operation[] {
  const why = `read ${JSON.stringify(path)}`;
  const [fd, end] = [`${name}:fd`, `${name}:end`];
  return [
    { syscall: "openat", args: [AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0], store: fd, why, onError: { goto: end } },
    {
      syscall: "read",
      args: [{ ref: fd }, { out: name, size }, size],
      store: `${name}:length`,
      why,
      onError: "ignore",
    },
    { syscall: "close", args: [{ ref: fd }], why, onError: "ignore" },
    { syscall: "getpid", args: [], why: "go on", label: end },
  ];
}

function parse(texts: ReadonlyMap<string, string>): CgroupStats {
  const nanos = number(texts.get("cpuacct.usage"));
  const io = texts.get("io.stat");
  return {
    cpuMicros: nanos === undefined ? field(texts.get("cpu.stat"), "usage_usec") : Math.round(nanos / 1000),
    memoryBytes: number(texts.get("memory.current") ?? texts.get("memory.usage_in_bytes")),
    memoryPeakBytes: number(texts.get("memory.peak") ?? texts.get("memory.max_usage_in_bytes")),
    pids: number(texts.get("pids.current")),
    ...(io === undefined ? io1(texts.get("blkio.throttle.io_service_bytes_recursive")) : io2(io)),
    oomKills: oomKillsIn(texts),
  };
}

function oomKillsIn(texts: ReadonlyMap<string, string>): number {
  return field(texts.get("memory.events") ?? texts.get("memory.oom_control"), "oom_kill") ?? 0;
}

function number(text: string | undefined): number | undefined {
  const value = Number.parseInt(text ?? "", 10);
  return Number.isNaN(value) ? undefined : value;
}

/** The value of a line `name value`. */
function field(text: string | undefined, name: string): number | undefined {
  return number(text?.split("\n").find((line) => line.startsWith(`${name} `))?.slice(name.length + 1));
}

type Io = Pick<TaskStats, "ioReadBytes" | "ioWriteBytes">;

/** Lines `8:0 Read 4096`. */
function io1(text: string | undefined): Io {
  if (text === undefined) return { ioReadBytes: undefined, ioWriteBytes: undefined };
  const sum = (kind: string) =>
    text.split("\n").reduce((total, line) => {
      const [, name, value] = line.split(" ");
      return name === kind ? total + (number(value) ?? 0) : total;
    }, 0);
  return { ioReadBytes: sum("Read"), ioWriteBytes: sum("Write") };
}

/** Lines `8:0 rbytes=4096 wbytes=0 …`; an empty file where nothing was read or written. */
function io2(text: string): Io {
  const sum = (name: string) =>
    [...text.matchAll(new RegExp(`\\b${name}=(\\d+)`, "g"))].reduce((total, match) => total + Number(match[1]), 0);
  return { ioReadBytes: sum("rbytes"), ioWriteBytes: sum("wbytes") };
}
