import type { ImageConfig } from "../core/descriptor.ts";
import { Failure } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { IdRange } from "../core/id_range.ts";
import type { Spec, SpecProcess, SpecResources } from "../core/spec.ts";
import { type Accounts, resolveUser } from "./accounts.ts";
import { defaultCapabilities } from "./capabilities.ts";
import { specMounts } from "./spec_mounts.ts";
import { defaultSeccomp } from "./seccomp_profile.ts";
import {
  cpuPeriodMicros,
  defaultMounts,
  defaultNamespaces,
  defaultPath,
  defaultRlimits,
  deviceRules,
  maskedPaths,
  ociVersion,
  readonlyPaths,
} from "./spec_defaults.ts";

/** One object for all containers: what is compiled from it is cached by its identity. */
const seccomp = defaultSeccomp(defaultCapabilities);

/** What a caller may set beside the image; what is left out is the image's, or not limited. */
export type SpecSettings = Partial<
  Pick<
    FunctionSettings,
    | "command"
    | "args"
    | "env"
    | "user"
    | "workdir"
    | "memoryBytes"
    | "cpus"
    | "pids"
    | "readonlyRootfs"
    | "mounts"
    | "hostname"
  >
>;

export interface SpecOptions {
  readonly image: ImageConfig;
  readonly settings?: SpecSettings;
  /** Where images that are mounted are on this machine, by the targets of their mounts. */
  readonly volumes?: ReadonlyMap<string, string> | undefined;
  /** The task's id: its end becomes the host name, where the settings have none. */
  readonly id: string;
  /** The image's account files (`readAccounts`); without them, only root and numbers can be users. */
  readonly accounts?: Accounts;
  /** Whose users are its users. Default: the host's. */
  readonly ids?: IdRange | undefined;
  /** Whether its standard streams are a terminal. */
  readonly terminal?: boolean;
  /** How readily the kernel kills it when the machine runs out of memory; by default `Tasks.create` says. */
  readonly oomScoreAdj?: number;
}

/**
 * Makes the OCI runtime configuration of a container, with the defaults of Docker and containerd.
 *
 * It has a network namespace of its own; a network plugin's `apply` may change that. What is the runtime's affair is left to
 * it: `root.path` is only a name, and there is no `cgroupsPath`.
 *
 * @throws invalid_argument for a user that the image does not know, or where there is nothing to run.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/conversion.md
 */
export function generateSpec(options: SpecOptions): Spec {
  const { image, id, settings = {}, terminal = false } = options;
  const config = image.config ?? {};
  const text = settings.user ?? config.User ?? "";
  const { user, home } = resolveUser(text, options.accounts ?? { passwd: "", group: "" });
  checkIds(user, options.ids);
  const hostname = settings.hostname ?? hostnameOf(id);
  const args = withoutNul("argument", argsOf(config, settings));
  const [cwd = "/"] = withoutNul("working folder", [settings.workdir || config.WorkingDir || "/"]);
  const env = new Map([
    ["PATH", defaultPath],
    ["HOME", home || "/"],
    ...(terminal ? [["TERM", "xterm"] as const] : []),
    ...parseEnv(config.Env ?? []),
    ...Object.entries(settings.env ?? {}),
    ["HOSTNAME", hostname],
  ]);
  return {
    ociVersion,
    process: {
      terminal,
      user,
      args,
      env: withoutNul("environment variable", formatEnv(env)),
      cwd: cwd.startsWith("/") ? cwd : `/${cwd}`,
      capabilities: capabilitiesOf(user?.uid ?? 0),
      rlimits: defaultRlimits,
      noNewPrivileges: true,
      oomScoreAdj: options.oomScoreAdj,
    },
    root: { path: "rootfs", readonly: settings.readonlyRootfs ?? false },
    hostname,
    mounts: settings.mounts === undefined
      ? defaultMounts
      : [...defaultMounts, ...specMounts(settings.mounts, options.volumes)],
    linux: {
      ...usersOf(options.ids),
      resources: resourcesOf(settings),
      seccomp,
      maskedPaths,
      readonlyPaths,
    },
  };
}

/** Namespaces and ids of a container. */
function usersOf(ids: IdRange | undefined): Pick<Spec["linux"], "namespaces" | "uidMappings" | "gidMappings"> {
  if (ids === undefined) return { namespaces: defaultNamespaces };
  const map = [{ containerID: 0, hostID: ids.first, size: ids.size }];
  return { namespaces: [...defaultNamespaces, { type: "user" }], uidMappings: map, gidMappings: map };
}

/** @throws invalid_argument for a user or group that a container of such users has not. */
function checkIds(user: SpecProcess["user"], ids: IdRange | undefined): void {
  if (ids === undefined || user === undefined) return;
  const beyond = [user.uid, user.gid, ...user.additionalGids ?? []].find((id) => (id ?? 0) >= ids.size);
  if (beyond === undefined) return;
  throw new Failure(
    "invalid_argument",
    `cannot run as ${beyond}: a container with users of its own has those below ${ids.size}`,
    { details: { field: "user" } },
  );
}

/** A configuration that serves many tasks, which differ in id and environment alone. */
export interface SpecTemplate {
  readonly spec: Spec;
  readonly env: ReadonlyMap<string, string>;
  /** That of all of them, where they share one. */
  readonly hostname: string | undefined;
}

/** Prepares a configuration for `withRequest`. @param hostname of all tasks. Default: the end of the id of each. */
export function specTemplate(spec: Spec, hostname?: string): SpecTemplate {
  return { spec, env: new Map(parseEnv(spec.process.env ?? [])), hostname };
}

/**
 * The configuration of one task: a shallow copy of the template's, with all that is constant shared.
 * @param request.env goes over the template's environment.
 */
export function withRequest(
  template: SpecTemplate,
  request: { readonly id: string; readonly env?: Readonly<Record<string, string>> },
): Spec {
  const { spec } = template;
  const hostname = template.hostname ?? hostnameOf(request.id);
  const env = new Map(template.env);
  env.set("HOSTNAME", hostname);
  for (const name in request.env) env.set(name, request.env[name] as string);
  return {
    ...spec,
    hostname,
    process: { ...spec.process, env: formatEnv(env) },
  };
}

/** The end of an id, where those that begin with the time differ, as a host name. */
export function hostnameOf(id: string): string {
  return id.slice(-12).replace(/[^A-Za-z0-9-]/g, "-").replace(/^-+|-+$/g, "") || "mayfly";
}

function argsOf(config: NonNullable<ImageConfig["config"]>, settings: SpecSettings): string[] {
  const args = settings.command === undefined
    ? [...config.Entrypoint ?? [], ...settings.args ?? config.Cmd ?? []]
    : [...settings.command, ...settings.args ?? []];
  if (args.length > 0 && args[0] !== "") return args;
  throw new Failure(
    "invalid_argument",
    "cannot make container: the image has neither Entrypoint nor Cmd, and no command was given",
    { details: { field: "command" } },
  );
}

/** Only root has them from the start, as `execve` would have it. */
export function capabilitiesOf(uid: number): SpecProcess["capabilities"] {
  const held = uid === 0 ? defaultCapabilities : [];
  return { bounding: defaultCapabilities, effective: held, permitted: held, inheritable: [], ambient: [] };
}

function resourcesOf(settings: SpecSettings): SpecResources {
  return { devices: deviceRules, ...limitsOf(settings) };
}

/** Limits as the OCI configuration has them; what is not named is left out. */
export function limitsOf({ memoryBytes, cpus, pids }: Pick<SpecSettings, "memoryBytes" | "cpus" | "pids">) {
  return {
    // Swap counts memory and swap together: the same number is no swap at all.
    ...(memoryBytes === undefined ? {} : { memory: { limit: memoryBytes, swap: memoryBytes } }),
    ...(cpus === undefined ? {} : { cpu: { quota: Math.round(cpus * cpuPeriodMicros), period: cpuPeriodMicros } }),
    ...(pids === undefined ? {} : { pids: { limit: pids } }),
  };
}

/** The kernel would take such a string for one that ends at the NUL. */
function withoutNul(what: string, texts: string[]): string[] {
  const bad = texts.find((text) => text.includes("\0"));
  if (bad === undefined) return texts;
  throw new Failure("invalid_argument", `cannot use ${what} ${JSON.stringify(bad.slice(0, 100))}: it holds a NUL byte`);
}

/** An environment with some variables over it. */
export function envOf(env: readonly string[], over: Readonly<Record<string, string>>): string[] {
  return formatEnv(new Map([...parseEnv(env), ...Object.entries(over)]));
}

function parseEnv(env: readonly string[]): (readonly [name: string, value: string])[] {
  return env.flatMap((entry) => {
    const equals = entry.indexOf("=");
    return equals > 0 ? [[entry.slice(0, equals), entry.slice(equals + 1)] as const] : [];
  });
}

function formatEnv(env: ReadonlyMap<string, string>): string[] {
  return Array.from(env, ([name, value]) => `${name}=${value}`);
}
