import type { SpecMount, SpecNamespace, SpecResources } from "../core/spec.ts";

/*
 * The constant parts of a container's configuration, as Docker and containerd have them today.
 */

export const ociVersion = "1.0.2";

export const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export const defaultNamespaces: readonly SpecNamespace[] = [
  { type: "pid" },
  { type: "mount" },
  { type: "ipc" },
  { type: "uts" },
  { type: "network" },
  { type: "cgroup" },
];

export const defaultMounts: readonly SpecMount[] = [
  { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
  {
    destination: "/dev",
    type: "tmpfs",
    source: "tmpfs",
    options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
  },
  {
    destination: "/dev/pts",
    type: "devpts",
    source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
  },
  {
    destination: "/dev/shm",
    type: "tmpfs",
    source: "shm",
    options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
  },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
  {
    destination: "/sys/fs/cgroup",
    type: "cgroup",
    source: "cgroup",
    options: ["nosuid", "noexec", "nodev", "relatime", "ro"],
  },
];

/** What would tell a container about the machine, or let it do something to it. */
export const maskedPaths: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];

export const readonlyPaths: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

type DeviceRule = NonNullable<SpecResources["devices"]>[number];

const character = (major: number, minor?: number): DeviceRule =>
  minor === undefined
    ? { allow: true, type: "c", major, access: "rwm" }
    : { allow: true, type: "c", major, minor, access: "rwm" };

/** Nodes of any device may be made, but only these opened. */
export const deviceRules: readonly DeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  character(1, 3), // null
  character(1, 5), // zero
  character(1, 7), // full
  character(1, 8), // random
  character(1, 9), // urandom
  character(5, 0), // tty
  character(5, 2), // ptmx
  character(136), // pts
];

/** Of each scheduling period, in microseconds; `cpus` says how much of it a container gets. */
export const cpuPeriodMicros = 100_000;

/** As containerd: what programs of every age can live with (`select` cannot look past 1024). */
export const defaultRlimits = [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 1024 }] as const;
