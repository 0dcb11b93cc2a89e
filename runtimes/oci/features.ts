import * as v from "valibot";
import { type ErrorCode, Failure } from "../../src/core/errors.ts";
import { type Features, FeaturesSchema } from "../../src/core/features.ts";
import type { Spec, SpecResources } from "../../src/core/spec.ts";
import { mountOptionNames } from "../../src/linux/mount/options.ts";
import type { CommandLine } from "./command_line.ts";

/** What a runtime's program is: `crun` 1.8.1. */
interface Program {
  readonly name: string;
  readonly version: readonly number[];
}

interface SilentField {
  readonly field: string;
  /** The first versions that heed it, as their release notes say. Programs that are not here are trusted with it. */
  readonly since: Readonly<Record<string, readonly number[]>>;
  readonly read: (spec: Spec) => unknown;
}

/**
 * What older programs read over without a word, and no features tell of. Seen on Debian's crun 1.8.1 and runc 1.1.5.
 * @see https://github.com/containers/crun/blob/main/NEWS
 * @see https://github.com/opencontainers/runc/blob/main/CHANGELOG.md
 */
const silent: readonly SilentField[] = [
  { field: "process.scheduler", since: { crun: [1, 8, 5], runc: [1, 2] }, read: ({ process }) => process.scheduler },
  { field: "process.ioPriority", since: { crun: [1, 8, 6], runc: [1, 2] }, read: ({ process }) => process.ioPriority },
  { field: "domainname", since: { crun: [1, 7], runc: [1, 2] }, read: ({ domainname }) => domainname },
  { field: "linux.personality", since: { runc: [1, 2] }, read: ({ linux }) => linux.personality },
  {
    field: "linux.timeOffsets",
    since: { crun: [1, 8, 4], runc: [1, 2] },
    read: ({ linux }) => Object.keys(linux.timeOffsets ?? {}).length > 0,
  },
  { field: "linux.intelRdt", since: { crun: [1, 10] }, read: ({ linux }) => linux.intelRdt },
  {
    field: "mounts: uidMappings",
    since: { runc: [1, 2] },
    read: ({ mounts }) => mounts?.some(({ uidMappings }) => (uidMappings?.length ?? 0) > 0),
  },
];

/** What one OCI runtime's program can do, as it says itself, or as its version is known for. */
export class ProgramFeatures {
  readonly #id: string;
  readonly #program: Program | undefined;
  readonly #features: Features;

  /** @param id the plugin's, for messages. */
  constructor(id: string, program: Program | undefined, features: Features) {
    this.#id = id;
    this.#program = program;
    this.#features = features;
  }

  /** Asks the program. What it does not answer is not known, and nothing is refused for it. @param folder for its log. */
  static async ask(id: string, commands: CommandLine, folder: string): Promise<ProgramFeatures> {
    const ask = (words: string) => commands.run(`cannot ask ${id} for ${words}`, folder, [words]).catch(() => "");
    const [version, features] = await Promise.all([ask("--version"), ask("features")]);
    return new ProgramFeatures(id, programOf(version), featuresOf(features));
  }

  /** @throws unimplemented or invalid_argument, naming the field, for what the program would refuse late, or read over. */
  check(spec: Spec): void {
    const { linux: own } = this.#features;
    const { process, linux } = spec;
    for (const { field, since, read } of silent) if (read(spec) && this.#isBefore(since)) throw this.#lacks(field);
    if (linux.namespaces?.some(({ type, path }) => type === "mount" && path)) {
      throw this.#lacks("linux.namespaces: a mount namespace by its path, the root being mounted in another");
    }
    this.#known("linux.namespaces", linux.namespaces?.map(({ type }) => type), own?.namespaces);
    const turns = Object.entries(spec.hooks ?? {}).filter(([, of]) => Array.isArray(of) && of.length > 0);
    this.#known("hooks", turns.map(([turn]) => turn), this.#features.hooks);
    // Others are the filesystem's.
    const options = spec.mounts?.flatMap(({ options = [] }) => options).filter((each) =>
      mountOptionNames.includes(each)
    );
    this.#known("mounts: option", options, this.#features.mountOptions);
    const sets = Object.values(process.capabilities ?? {}).flat().map(String);
    this.#known("process.capabilities", sets, own?.capabilities, "invalid_argument");
    if (linux.seccomp) {
      const { seccomp: profile } = linux;
      if (own?.seccomp?.enabled === false) throw this.#lacks("linux.seccomp");
      const rules = profile.syscalls ?? [];
      const actions = [profile.defaultAction, ...rules.map(({ action }) => action)];
      this.#known("linux.seccomp: action", actions, own?.seccomp?.actions);
      const operators = rules.flatMap(({ args = [] }) => args?.map(({ op }) => op) ?? []);
      this.#known("linux.seccomp: operator", operators, own?.seccomp?.operators);
      this.#known("linux.seccomp: flag", profile.flags, own?.seccomp?.supportedFlags);
    }
    if (own?.apparmor?.enabled === false && process.apparmorProfile) throw this.#lacks("process.apparmorProfile");
    if (own?.selinux?.enabled === false && process.selinuxLabel) throw this.#lacks("process.selinuxLabel");
    if (own?.intelRdt?.enabled === false && linux.intelRdt) throw this.#lacks("linux.intelRdt");
  }

  /** @throws unimplemented for limits that its update reads over. */
  checkUpdate({ devices = [] }: SpecResources): void {
    if (devices.length > 0 && this.#program?.name === "runc") throw this.#lacks("linux.resources.devices in an update");
  }

  #isBefore(since: SilentField["since"]): boolean {
    if (this.#program === undefined) return false;
    const { name, version } = this.#program;
    const first = since[name];
    if (first === undefined) return false;
    const at = [0, 1, 2].find((index) => (version[index] ?? 0) !== (first[index] ?? 0));
    return at !== undefined && (version[at] ?? 0) < (first[at] ?? 0);
  }

  #known(
    field: string,
    wanted: readonly string[] | null | undefined,
    known: readonly string[] | null | undefined,
    code: ErrorCode = "unimplemented",
  ): void {
    if (!known) return;
    const missing = wanted?.find((each) => !known.includes(each));
    if (missing !== undefined) throw this.#lacks(`${field} ${JSON.stringify(missing)}`, code);
  }

  #lacks(field: string, code: ErrorCode = "unimplemented"): Failure {
    const { name = this.#id, version = [] } = this.#program ?? {};
    const program = [name, version.join(".")].filter((word) => word !== "").join(" ");
    return new Failure(code, `cannot use ${field}: ${program} does not have it, the runtime native may`, {
      details: { field },
    });
  }
}

/** Reads `runc version 1.1.5+ds1`. */
function programOf(text: string): Program | undefined {
  const [, name, version] = /^(\S+) version (\d+(?:\.\d+)*)/.exec(text) ?? [];
  return name === undefined || version === undefined ? undefined : { name, version: version.split(".").map(Number) };
}

function featuresOf(text: string): Features {
  try {
    const parsed = v.safeParse(FeaturesSchema, JSON.parse(text));
    return parsed.success ? parsed.output : {};
  } catch {
    return {};
  }
}
