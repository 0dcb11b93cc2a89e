import * as v from "valibot";

/*
 * The OCI runtime configuration (`config.json`) for Linux. Each shape names its clause of the specification, version 1.2.
 * Unknown keys pass, as the specification asks (config.md, "Extensibility"): what a runtime cannot do, it refuses itself.
 */

/** JSON made by Go writes `null` for an empty list or map. */
const list = <T extends v.GenericSchema>(item: T) => v.optional(v.pipe(v.nullish(v.array(item), []), v.readonly()));
const map = v.optional(v.pipe(v.nullish(v.record(v.string(), v.string()), {}), v.readonly()));

const integer = v.pipe(v.number(), v.safeInteger());
const natural = v.pipe(integer, v.minValue(0));
const uint32 = v.pipe(natural, v.maxValue(0xffff_ffff));
const absolute = v.pipe(
  v.string(),
  v.startsWith("/", "a path here has to be absolute"),
  v.check((s) => !s.includes("\0")),
);
const text = v.pipe(v.string(), v.check((s) => !s.includes("\0"), "a string here cannot hold a NUL"));

/** A size in bytes or a time; -1 means unlimited where the clause allows it. */
const limit = v.optional(v.pipe(integer, v.minValue(-1)));

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
  type: text,
  /** Go writes unlimited as 18446744073709551615, which a double rounds up: anything past 2^53 is unlimited. */
  soft: v.pipe(v.number(), v.minValue(0)),
  hard: v.pipe(v.number(), v.minValue(0)),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-user */
const UserSchema = v.looseObject({
  uid: v.optional(uint32, 0),
  gid: v.optional(uint32, 0),
  umask: v.optional(v.pipe(natural, v.maxValue(0o777))),
  additionalGids: list(uint32),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#process */
const ProcessSchema = v.looseObject({
  terminal: v.optional(v.boolean()),
  user: v.optional(UserSchema, {}),
  args: v.pipe(v.array(text), v.minLength(1, "process.args needs at least the command"), v.readonly()),
  /** `NAME=value` */
  env: list(text),
  cwd: absolute,
  capabilities: v.nullish(CapabilitiesSchema),
  rlimits: list(RlimitSchema),
  noNewPrivileges: v.optional(v.boolean()),
  oomScoreAdj: v.nullish(v.pipe(integer, v.minValue(-1000), v.maxValue(1000))),
  apparmorProfile: v.optional(text),
  selinuxLabel: v.optional(text),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#mounts */
const MountSchema = v.looseObject({
  destination: text,
  type: v.optional(text),
  source: v.optional(text),
  options: list(text),
  uidMappings: v.nullish(v.array(v.unknown())),
  gidMappings: v.nullish(v.array(v.unknown())),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#namespaces */
const NamespaceSchema = v.looseObject({
  type: v.picklist(["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]),
  /** The file of a namespace to join; without one, a new one is made. */
  path: v.optional(
    v.pipe(v.string(), v.check((path) => path === "" || path.startsWith("/"), "a path here has to be absolute")),
  ),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#user-namespace-mappings */
const IdMappingSchema = v.looseObject({ containerID: uint32, hostID: uint32, size: uint32 });

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#devices */
const DeviceSchema = v.looseObject({
  /** Character, block, unbuffered character, fifo. */
  type: v.picklist(["c", "b", "u", "p"]),
  path: absolute,
  major: v.optional(integer),
  minor: v.optional(integer),
  /** Permission bits, as a number. */
  fileMode: v.nullish(natural),
  uid: v.nullish(uint32),
  gid: v.nullish(uint32),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#allowed-device-list */
const DeviceRuleSchema = v.looseObject({
  allow: v.boolean(),
  type: v.optional(v.picklist(["", "a", "b", "c"])),
  /** Undefined or -1: all. */
  major: v.nullish(integer),
  minor: v.nullish(integer),
  /** A mixture of `r`, `w` and `m`. */
  access: v.optional(v.pipe(v.string(), v.regex(/^[rwm]*$/))),
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#control-groups */
const ResourcesSchema = v.looseObject({
  devices: list(DeviceRuleSchema),
  memory: v.nullish(v.looseObject({
    /** Bytes. */
    limit,
    /** Bytes of memory and swap together. */
    swap: limit,
    reservation: limit,
    kernel: limit,
    kernelTCP: limit,
    swappiness: v.nullish(natural),
    disableOOMKiller: v.nullish(v.boolean()),
    useHierarchy: v.nullish(v.boolean()),
  })),
  cpu: v.nullish(v.looseObject({
    shares: v.nullish(natural),
    /** Microseconds of CPU time in each period; -1 for no limit. */
    quota: v.nullish(v.pipe(integer, v.minValue(-1))),
    /** Microseconds. */
    period: v.nullish(natural),
    realtimeRuntime: v.nullish(integer),
    realtimePeriod: v.nullish(natural),
    idle: v.nullish(integer),
    cpus: v.optional(text),
    mems: v.optional(text),
  })),
  pids: v.nullish(v.looseObject({ limit: integer })),
  blockIO: v.nullish(v.looseObject({ weight: v.nullish(natural), leafWeight: v.nullish(natural) })),
  hugepageLimits: list(v.unknown()),
  network: v.nullish(v.looseObject({})),
  rdma: v.nullish(v.record(v.string(), v.unknown())),
  /** cgroup v2 files and their values. */
  unified: map,
});

const seccompActions = [
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

const seccompOperators = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;

/** Values are 64 bits wide: a number where it is exact, a decimal string where JSON's double would round. */
const uint64 = v.union([natural, v.pipe(v.string(), v.digits())]);

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#seccomp */
const SeccompSchema = v.looseObject({
  defaultAction: v.picklist(seccompActions),
  defaultErrnoRet: v.optional(uint32),
  /** `SCMP_ARCH_X86_64`, … */
  architectures: list(text),
  /** `SECCOMP_FILTER_FLAG_LOG`, … */
  flags: list(text),
  listenerPath: v.optional(text),
  listenerMetadata: v.optional(text),
  syscalls: list(v.looseObject({
    names: v.pipe(v.array(text), v.minLength(1), v.readonly()),
    action: v.picklist(seccompActions),
    errnoRet: v.nullish(uint32),
    args: list(v.looseObject({
      index: v.pipe(natural, v.maxValue(5)),
      value: uint64,
      valueTwo: v.optional(uint64),
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
});

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-hooks */
const HookSchema = v.looseObject({
  path: absolute,
  args: list(text),
  env: list(text),
  /** Seconds. */
  timeout: v.nullish(v.pipe(integer, v.minValue(1))),
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
