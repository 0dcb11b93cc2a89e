/** What this machine can do, read from /proc and /sys, with the cure for what it cannot. */
import { existsSync, readFileSync, statfsSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { bytes } from "./output.ts";

export interface Check {
  readonly name: string;
  /** `bad` stops the daemon, `warn` costs something. */
  readonly state: "ok" | "warn" | "bad";
  readonly says: string;
  readonly cure?: string;
}

/** @param root the daemon's persistent folder. */
export function checkMachine(root: string): readonly Check[] {
  return [user(), kernel(), filesystem("overlay"), cgroups(), seccomp(), users(), capabilities(), space(root)];
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A file that is not there is an answer here: the feature is not there either.
    return "";
  }
}

function user(): Check {
  const uid = process.getuid?.();
  return uid === 0
    ? { name: "user", state: "ok", says: "root" }
    : { name: "user", state: "bad", says: `uid ${uid}, and containers are made by root`, cure: "run it with sudo" };
}

function kernel(): Check {
  const version = release();
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const enough = major > 5 || (major === 5 && minor >= 12);
  return enough
    ? { name: "kernel", state: "ok", says: version }
    : { name: "kernel", state: "bad", says: `${version}, without mount_setattr(2)`, cure: "use Linux 5.12 or newer" };
}

function filesystem(name: string): Check {
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

function seccomp(): Check {
  const actions = read("/proc/sys/kernel/seccomp/actions_avail").trim();
  return actions !== ""
    ? { name: "seccomp", state: "ok", says: actions }
    : { name: "seccomp", state: "bad", says: "not in the kernel", cure: "use a kernel with CONFIG_SECCOMP_FILTER" };
}

function users(): Check {
  const name = "users";
  const most = read("/proc/sys/user/max_user_namespaces").trim();
  if (most !== "" && most !== "0") return { name, state: "ok", says: `up to ${most} user namespaces (--userns auto)` };
  return {
    name,
    state: "warn",
    says: `${most === "" ? "the kernel has" : "the machine allows"} no user namespaces: --userns auto cannot be had`,
    cure: most === "" ? "use a kernel with CONFIG_USER_NS" : "sysctl user.max_user_namespaces=15000",
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

function space(root: string): Check {
  let folder = root;
  while (folder !== "/" && !existsSync(folder)) folder = join(folder, "..");
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const says = `${bytes(free)} free at ${folder}`;
  return free > 1024 ** 3
    ? { name: "disk", state: "ok", says }
    : { name: "disk", state: "warn", says, cure: "free some, or choose another --root" };
}
