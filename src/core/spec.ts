import * as v from "valibot";
import { ResourcesSchema } from "./spec_resources.ts";
import { absolute, int32, int64, list, map, text, uint32, uint64 } from "./spec_values.ts";

/*
 * The OCI runtime configuration (`config.json`) for Linux. Each shape names its clause of the specification, version 1.2.
 * Unknown keys pass, as the specification asks (config.md, "Extensibility"): what a runtime cannot do, it refuses itself.
 */

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#linux-process (capabilities) */
const CapabilitiesSchema = v.looseObject({
  bounding: list(text),
  effective: list(text),
  inheritable: list(text),
  permitted: list(text),
  ambient: list(text),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-process (rlimits) */
const RlimitSchema = v.looseObject({
  /** `RLIMIT_NOFILE`, … */
  type: v.pipe(v.string(), v.regex(/^RLIMIT_[A-Z]+$/, "a name such as RLIMIT_NOFILE")),
  /** Go writes unlimited as 18446744073709551615, which a double rounds up: anything past 2^53 is unlimited. */
  soft: uint64,
  hard: uint64,
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-user */
const UserSchema = v.looseObject({
  uid: v.optional(uint32, 0),
  gid: v.optional(uint32, 0),
  umask: v.optional(v.pipe(uint32, v.maxValue(0o777))),
  additionalGids: list(uint32),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#linux-process (scheduler) */
const SchedulerSchema = v.looseObject({
  policy: v.picklist([
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
  ]),
  nice: v.optional(int32),
  priority: v.optional(int32),
  flags: list(v.picklist([
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
  ])),
  /** Nanoseconds. */
  runtime: v.optional(uint64),
  deadline: v.optional(uint64),
  period: v.optional(uint64),
});

/** Processors: `0-3,7`. */
const cpuList = v.optional(v.pipe(v.string(), v.regex(/^[0-9, -]*$/, "a list of processors such as 0-3,7")));

/** In characters. The kernel keeps 16 bits of each. */
const side = v.pipe(uint64, v.maxValue(0xffff));

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#process */
export const ProcessSchema = v.looseObject({
  terminal: v.optional(v.boolean()),
  consoleSize: v.nullish(v.looseObject({ height: side, width: side })),
  user: v.optional(UserSchema, {}),
  args: v.pipe(v.array(text), v.minLength(1, "process.args needs at least the command"), v.readonly()),
  /** `NAME=value` */
  env: list(text),
  cwd: absolute,
  capabilities: v.nullish(CapabilitiesSchema),
  rlimits: list(RlimitSchema),
  noNewPrivileges: v.optional(v.boolean()),
  oomScoreAdj: v.nullish(v.pipe(int32, v.minValue(-1000), v.maxValue(1000))),
  apparmorProfile: v.optional(text),
  selinuxLabel: v.optional(text),
  scheduler: v.nullish(SchedulerSchema),
  ioPriority: v.nullish(v.looseObject({
    class: v.picklist(["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]),
    /** 0, the highest, to 7. */
    priority: v.optional(v.pipe(int32, v.minValue(0), v.maxValue(7))),
  })),
  /** `initial`: while an exec joins the container; `final`: of what it executes. */
  execCPUAffinity: v.nullish(v.looseObject({ initial: cpuList, final: cpuList })),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#user-namespace-mappings */
const IdMappingSchema = v.looseObject({ containerID: uint32, hostID: uint32, size: uint32 });

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#mounts */
const MountSchema = v.looseObject({
  destination: v.pipe(text, v.minLength(1, "a path")),
  type: v.optional(text),
  source: v.optional(text),
  options: list(text),
  uidMappings: list(IdMappingSchema),
  gidMappings: list(IdMappingSchema),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#namespaces */
const NamespaceSchema = v.looseObject({
  type: v.picklist(["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]),
  /** The file of a namespace to join; without one, a new one is made. */
  path: v.optional(v.pipe(text, v.check((path) => path === "" || path.startsWith("/"), "an absolute path"))),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#devices */
const DeviceSchema = v.looseObject({
  /** Character, block, unbuffered character, fifo. */
  type: v.picklist(["c", "b", "u", "p"]),
  path: absolute,
  major: v.optional(int64),
  minor: v.optional(int64),
  /** Permission bits, as a number. */
  fileMode: v.nullish(uint32),
  uid: v.nullish(uint32),
  gid: v.nullish(uint32),
});

export const seccompActions = [
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_TRAP",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_LOG",
  "SCMP_ACT_NOTIFY",
] as const;

export const seccompOperators = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;

/** Values are 64 bits wide: a number where it is exact, a decimal string where JSON's double would round. */
const exact64 = v.union(
  [v.pipe(v.number(), v.safeInteger(), v.minValue(0)), v.pipe(v.string(), v.regex(/^\d{1,20}$/))],
  "a whole number of 64 bits",
);

const architectures = [
  "X86",
  "X86_64",
  "X32",
  "ARM",
  "AARCH64",
  "LOONGARCH64",
  "M68K",
  "MIPS",
  "MIPS64",
  "MIPS64N32",
  "MIPSEL",
  "MIPSEL64",
  "MIPSEL64N32",
  "PPC",
  "PPC64",
  "PPC64LE",
  "S390",
  "S390X",
  "SH",
  "SHEB",
  "PARISC",
  "PARISC64",
  "RISCV64",
] as const;

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#seccomp */
const SeccompSchema = v.looseObject({
  defaultAction: v.picklist(seccompActions),
  defaultErrnoRet: v.optional(uint32),
  /** `SCMP_ARCH_X86_64`, … */
  architectures: list(v.picklist(architectures.map((name) => `SCMP_ARCH_${name}` as const))),
  flags: list(v.picklist([
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
  ])),
  listenerPath: v.optional(text),
  listenerMetadata: v.optional(text),
  syscalls: list(v.looseObject({
    names: v.pipe(v.array(text), v.minLength(1), v.readonly()),
    action: v.picklist(seccompActions),
    errnoRet: v.nullish(uint32),
    args: list(v.looseObject({
      index: v.pipe(uint32, v.maxValue(5)),
      value: exact64,
      valueTwo: v.optional(exact64),
      op: v.picklist(seccompOperators),
    })),
  })),
});
export type Seccomp = v.InferOutput<typeof SeccompSchema>;

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md */
const LinuxSchema = v.looseObject({
  namespaces: list(NamespaceSchema),
  uidMappings: list(IdMappingSchema),
  gidMappings: list(IdMappingSchema),
  devices: list(DeviceSchema),
  cgroupsPath: v.optional(text),
  resources: v.nullish(ResourcesSchema),
  seccomp: v.nullish(SeccompSchema),
  sysctl: map,
  maskedPaths: list(absolute),
  readonlyPaths: list(absolute),
  rootfsPropagation: v.optional(
    v.picklist(["", "private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable"]),
  ),
  mountLabel: v.optional(text),
  personality: v.nullish(v.looseObject({ domain: v.picklist(["LINUX", "LINUX32"]), flags: list(text) })),
  intelRdt: v.nullish(v.looseObject({
    closID: v.optional(text),
    l3CacheSchema: v.optional(text),
    memBwSchema: v.optional(v.pipe(text, v.regex(/^MB:[^\n]*$/, "a schema that begins with MB:"))),
    enableCMT: v.optional(v.boolean()),
    enableMBM: v.optional(v.boolean()),
  })),
  /** By clock. */
  timeOffsets: v.nullish(v.record(
    v.picklist(["monotonic", "boottime"]),
    v.looseObject({ secs: v.optional(int64), nanosecs: v.optional(v.pipe(uint32, v.maxValue(999_999_999))) }),
  )),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-hooks */
const HookSchema = v.looseObject({
  path: absolute,
  args: list(text),
  env: list(text),
  /** Seconds. */
  timeout: v.nullish(v.pipe(int32, v.minValue(1))),
});
const hooks = v.optional(v.nullish(v.array(HookSchema)));

/**
 * The OCI runtime configuration.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
 */
export const SpecSchema = v.looseObject({
  ociVersion: v.pipe(v.string(), v.regex(/^1\.\d+\.\d+/, "ociVersion has to be 1.x")),
  process: ProcessSchema,
  root: v.optional(v.looseObject({ path: text, readonly: v.optional(v.boolean()) })),
  hostname: v.optional(text),
  domainname: v.optional(text),
  mounts: list(MountSchema),
  linux: v.optional(LinuxSchema, {}),
  hooks: v.nullish(v.looseObject({
    prestart: hooks,
    createRuntime: hooks,
    createContainer: hooks,
    startContainer: hooks,
    poststart: hooks,
    poststop: hooks,
  })),
  annotations: map,
});

/** An OCI runtime configuration that has been parsed, or is written by hand. */
export type Spec = v.InferOutput<typeof SpecSchema>;
export type SpecProcess = Spec["process"];
export type SpecUser = SpecProcess["user"];
export type SpecMount = NonNullable<Spec["mounts"]>[number];
export type SpecNamespace = NonNullable<Spec["linux"]["namespaces"]>[number];
export type SpecDevice = NonNullable<Spec["linux"]["devices"]>[number];
export type SpecResources = NonNullable<Spec["linux"]["resources"]>;
