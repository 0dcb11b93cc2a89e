/** What this machine can do, read from /proc and /sys, with the cure for what it cannot. */
import { existsSync, readFileSync, statfsSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { bytes } from "./output.ts";

export interface Check {
  readonly name: string;
  /** `bad` stops the daemon, `warn` costs something. */
  readonly state: "ok" | "warn" | "bad";
  readonly says: string;
  readonly cure?: string;
}

const rootUser: Check = { name: "user", state: "ok", says: "root" };

/** For root. @param root the daemon's persistent folder. */
export function checkMachine(root: string): readonly Check[] {
  return [
    rootUser,
    kernel(),
    filesystem("overlay"),
    cgroups(),
    seccomp(),
    users(root),
    bridges(),
    capabilities(),
    inflaters(),
    space(root),
  ];
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A file that is not there is an answer here: the feature is not there either.
    return "";
  }
}

export function kernel(): Check {
  const version = release();
  return atLeast(5, 12)
    ? { name: "kernel", state: "ok", says: version }
    : { name: "kernel", state: "bad", says: `${version}, without mount_setattr(2)`, cure: "use Linux 5.12 or newer" };
}

export function atLeast(wantedMajor: number, wantedMinor: number): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

export function filesystem(name: string): Check {
  const known = read("/proc/filesystems").split("\n").some((line) => line.endsWith(`\t${name}`));
  return known ? { name, state: "ok", says: "in the kernel" } : {
    name,
    state: "warn",
    says: "not in the kernel: images are copied for each container, which is slow",
    cure: `modprobe ${name}`,
  };
}

function cgroups(): Check {
  const unified = read("/sys/fs/cgroup/cgroup.controllers").trim();
  const wanted = ["memory", "cpu", "pids"];
  const mounted = unified !== ""
    ? unified.split(" ")
    : wanted.filter((controller) => existsSync(`/sys/fs/cgroup/${controller}/cgroup.procs`));
  const layout = unified !== "" ? "v2" : existsSync("/sys/fs/cgroup/unified/cgroup.procs") ? "v1 with a v2 tree" : "v1";
  const missing = wanted.filter((controller) => !mounted.includes(controller));
  return missing.length === 0 ? { name: "cgroups", state: "ok", says: `${layout}: ${mounted.join(" ")}` } : {
    name: "cgroups",
    state: "bad",
    says: `${layout}, without ${missing.join(", ")}: limits cannot be kept`,
    cure: "mount them, or boot with cgroup_enable=memory",
  };
}

export function seccomp(): Check {
  const actions = read("/proc/sys/kernel/seccomp/actions_avail").trim();
  return actions !== ""
    ? { name: "seccomp", state: "ok", says: actions }
    : { name: "seccomp", state: "bad", says: "not in the kernel", cure: "use a kernel with CONFIG_SECCOMP_FILTER" };
}

/** Filesystems that can be layers with mapped ids, by the magic number of statfs(2), and since which Linux. */
const mapping: ReadonlyMap<number, readonly [name: string, major: number, minor: number]> = new Map([
  [0xef53, ["ext4", 5, 19]],
  [0x58465342, ["xfs", 5, 19]],
  [0x9123683e, ["btrfs", 5, 19]],
  [0x01021994, ["tmpfs", 6, 3]],
]);

/**
 * What `--userns auto` needs: user namespaces, and mounts that map ids, which overlay takes since Linux 5.19.
 * @see https://man7.org/linux/man-pages/man2/mount_setattr.2.html
 */
function users(root: string): Check {
  const name = "users";
  const without = (why: string, cure: string): Check => ({
    name,
    state: "warn",
    says: `${why}: --userns auto cannot be had`,
    cure,
  });
  const most = read("/proc/sys/user/max_user_namespaces").trim();
  if (most === "") return without("the kernel has no user namespaces", "use a kernel with CONFIG_USER_NS");
  if (most === "0") return without("the machine allows no user namespaces", "sysctl user.max_user_namespaces=15000");
  const folder = nearest(root);
  const known = mapping.get(statfsSync(folder).type);
  if (known === undefined) {
    return without(`ids cannot be mapped on the filesystem of ${folder}`, "choose a --root on ext4, xfs or btrfs");
  }
  const [filesystem, major, minor] = known;
  if (!atLeast(major, minor)) {
    return without(`this kernel maps no ids of layers on ${filesystem}`, `use Linux ${major}.${minor} or newer`);
  }
  return { name, state: "ok", says: `up to ${most} user namespaces, ids mapped on ${filesystem} (--userns auto)` };
}

/** A function of each part of the kernel that `--network bridge` needs, and the module that it may be in. */
const bridgeParts = [["br_dev_newlink", "bridge"], ["veth_newlink", "veth"], [
  "nf_tables_newtable",
  "nf_tables",
]] as const;

/** What `--network bridge` needs. The kernel loads modules by itself where they are installed. */
function bridges(): Check {
  const name = "bridge";
  const symbols = read("/proc/kallsyms");
  const modules = read(`/lib/modules/${release()}/modules.dep`);
  const missing = bridgeParts.map(([symbol, module]) => ({ symbol, module }))
    .filter(({ symbol, module }) => !symbols.includes(` ${symbol}`) && !modules.includes(`/${module}.ko`))
    .map(({ module }) => module);
  if (missing.length === 0) return { name, state: "ok", says: "in the kernel, or its modules (--network bridge)" };
  return {
    name,
    state: "warn",
    says: `the kernel has no ${missing.join(", ")}: --network bridge cannot be had`,
    cure: "use a kernel with CONFIG_BRIDGE, CONFIG_VETH, CONFIG_NF_TABLES and CONFIG_NFT_MASQ, or install its modules",
  };
}

/** What the default configuration uses. @see https://man7.org/linux/man-pages/man7/capabilities.7.html */
const needed: readonly (readonly [string, number])[] = [
  ["CAP_CHOWN", 0],
  ["CAP_DAC_OVERRIDE", 1],
  ["CAP_FOWNER", 3],
  ["CAP_KILL", 5],
  ["CAP_SETGID", 6],
  ["CAP_SETUID", 7],
  ["CAP_SETPCAP", 8],
  ["CAP_NET_ADMIN", 12],
  ["CAP_SYS_CHROOT", 18],
  ["CAP_SYS_ADMIN", 21],
  ["CAP_MKNOD", 27],
];

function capabilities(): Check {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(read("/proc/self/status"))?.[1] ?? "0"}`);
  const has = (bit: number) => (effective >> BigInt(bit) & 1n) === 1n;
  const missing = needed.filter(([, bit]) => !has(bit)).map(([name]) => name);
  if (missing.length > 0) {
    return {
      name: "capabilities",
      state: "bad",
      says: `missing ${missing.join(", ")}`,
      cure: "run it with sudo, or --privileged",
    };
  }
  return has(24) ? { name: "capabilities", state: "ok", says: "all that are needed" } : {
    name: "capabilities",
    state: "warn",
    says: "without CAP_SYS_RESOURCE: rlimits cannot be raised, oom_score_adj not lowered",
    cure: "grant CAP_SYS_RESOURCE where functions need it",
  };
}

const libraryFolders = ["/lib64", "/usr/lib64", "/usr/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"];

/** What layers are decompressed by: a library of the machine's, where it has one, else what every host brings along. */
export function inflaters(): Check {
  const has = (file: string) => libraryFolders.some((folder) => existsSync(join(folder, file)));
  const [isal, zstd] = [has("libisal.so.2"), has("libzstd.so.1")];
  const says = `gzip by ${isal ? "ISA-L" : "zlib"}, zstd by ${zstd ? "libzstd" : "zlib"}`;
  if (isal && zstd) return { name: "pulls", state: "ok", says };
  const cure = `apt-get install ${[isal ? "" : "libisal2", zstd ? "" : "libzstd1"].join(" ").trim()}, to unpack faster`;
  return { name: "pulls", state: "ok", says: `${says}: ${cure}` };
}

export function space(root: string): Check {
  const folder = nearest(root);
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const says = `${bytes(free)} free at ${folder}`;
  return free > 1024 ** 3
    ? { name: "disk", state: "ok", says }
    : { name: "disk", state: "warn", says, cure: "free some, or choose another --root" };
}

/** A folder, or what is there of the way to it. */
function nearest(root: string): string {
  let folder = root;
  while (folder !== "/" && !existsSync(folder)) folder = join(folder, "..");
  return folder;
}
