import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { codeOf } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { Nftables } from "../../src/linux/netlink/nftables.ts";
import { Routing } from "../../src/linux/netlink/route.ts";

const kernel = new Kernel(await currentHost());

/** One process of this machine. */
export interface ProcessState {
  readonly pid: number;
  /** Clock ticks between the machine's start and its own: with the pid, no other process has both. */
  readonly start: string;
  readonly name: string;
  /** Paths of its cgroups, one a line. */
  readonly cgroups: string;
  /** Its environment as it began, `NAME=value` each; empty where it has none, or is the kernel's. */
  readonly environment: readonly string[];
  /** Its network namespace, as `net:[4026531840]`. */
  readonly network: string;
}

/** Everything that a container could have left on this machine. */
export interface MachineState {
  readonly processes: readonly ProcessState[];
  /** `<type> on <path>`, in this process's mount namespace. */
  readonly mounts: readonly string[];
  /** Paths of all cgroups, in every hierarchy. */
  readonly cgroups: readonly string[];
  /**
   * Network interfaces and nftables tables, in this process's network namespace: `/sys/class/net/<name>`, behind which an
   * interface that says what it belongs to has that; `/nftables/<name>`.
   */
  readonly links: readonly string[];
}

/** Looks at the machine. */
export function machineState(): MachineState {
  return { processes: processes(), mounts: mounts(), cgroups: cgroups(), links: links() };
}

/**
 * What is there now and was not before, a line each.
 * @param isOurs tells whose it is, where others are at work on the machine too. Default: everything is ours.
 */
export function leftSince(
  before: MachineState,
  after: MachineState,
  isOurs: (thing: { readonly process: ProcessState } | { readonly path: string }) => boolean = () => true,
): readonly string[] {
  const known = new Set(before.processes.map(({ pid, start }) => `${pid} ${start}`));
  const networks = new Set(before.processes.map(({ network }) => network));
  const processes = after.processes
    .filter((process) => !known.has(`${process.pid} ${process.start}`) && isOurs({ process }))
    .map(({ pid, name, network }) =>
      `process ${pid} (${name})${networks.has(network) || network === "" ? "" : ` with network namespace ${network}`}`
    );
  const mounts = added(before.mounts, after.mounts).filter((path) => isOurs({ path })).map((path) => `mount ${path}`);
  const cgroups = added(before.cgroups, after.cgroups).filter((path) => isOurs({ path })).map((path) =>
    `cgroup ${path}`
  );
  const links = added(before.links, after.links).filter((path) => isOurs({ path }));
  return [...processes, ...mounts, ...cgroups, ...links];
}

function added(before: readonly string[], after: readonly string[]): readonly string[] {
  const known = new Set(before);
  return after.filter((each) => !known.has(each));
}

function processes(): readonly ProcessState[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The name may hold anything, spaces and parentheses too.
      const end = stat.lastIndexOf(")");
      const fields = stat.slice(end + 2).split(" ");
      const [state = "", start = ""] = [fields[0], fields[19]];
      // What has ended and waits for its parent holds nothing.
      if (state === "Z") return [];
      return [{
        pid: Number(name),
        start,
        name: stat.slice(stat.indexOf("(") + 1, end),
        cgroups: readFileSync(`/proc/${name}/cgroup`, "utf8"),
        environment: readFileSync(`/proc/${name}/environ`, "utf8").split("\0"),
        network: readlinkSync(`/proc/${name}/ns/net`),
      }];
    } catch {
      // It ended in between.
      return [];
    }
  });
}

function mounts(): readonly string[] {
  return readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter((line) => line !== "").map((line) => {
    const [before = "", after = ""] = line.split(" - ");
    return `${after.split(" ")[0]} on ${before.split(" ")[4]}`;
  });
}

function links(): readonly string[] {
  // Without the kernel's rights there is nothing that could have been left.
  if (process.getuid?.() !== 0) return [];
  using routing = Routing.open(kernel);
  return [
    ...routing.links().map(({ name, alias }) => `/sys/class/net/${[name, ...alias.split(" ", 1)].join("/")}`),
    ...tables().map((name) => `/nftables/${name}`),
  ];
}

function tables(): readonly string[] {
  try {
    using nftables = Nftables.open(kernel);
    return nftables.tables();
  } catch (error) {
    // The kernel of the virtual machine has no such thing.
    if (codeOf(error) === "unimplemented") return [];
    throw error;
  }
}

function cgroups(): readonly string[] {
  const found: string[] = [];
  const walk = (path: string) => {
    let entries;
    try {
      entries = readdirSync(path, { withFileTypes: true });
    } catch {
      // It was removed in between.
      return;
    }
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      found.push(join(path, entry.name));
      walk(join(path, entry.name));
    }
  };
  walk("/sys/fs/cgroup");
  return found;
}
