import { Failure } from "../../core/errors.ts";
import * as f from "../flags.ts";

/** Words that map the ids of a bind: of itself, or of the mounts below it too. */
export type IdMapWord = "idmap" | "ridmap";

/** The options of one mount, parsed: what is a flag of the kernel's, and what is the filesystem's own. */
export interface MountOptions {
  /** `MS_*` to set. */
  readonly flags: number;
  /** `MOUNT_ATTR_*` to set and to clear, for binds. */
  readonly attributes: { readonly set: number; readonly clear: number };
  /** The same for the binds below it too (`rro`, …). */
  readonly recursive: { readonly set: number; readonly clear: number };
  /** `MS_PRIVATE`, … and perhaps `MS_REC`; 0 for none. */
  readonly propagation: number;
  readonly bind: boolean;
  /** `rbind`: with the mounts below it. */
  readonly rbind: boolean;
  /** `tmpcopyup`: a tmpfs begins with what is at its place. */
  readonly copyUp: boolean;
  /** The ids of a bind are mapped. */
  readonly idmap: IdMapWord | undefined;
  /** Changes the mount that is there. */
  readonly remount: boolean;
  /** The filesystem's own options, in order. */
  readonly data: readonly string[];
}

interface Flag {
  readonly flag: number;
  readonly attribute: number;
  readonly on: boolean;
}

const pairs: readonly (readonly [on: string, off: string, flag: number, attribute: number])[] = [
  ["ro", "rw", f.MS_RDONLY, f.MOUNT_ATTR_RDONLY],
  ["nosuid", "suid", f.MS_NOSUID, f.MOUNT_ATTR_NOSUID],
  ["nodev", "dev", f.MS_NODEV, f.MOUNT_ATTR_NODEV],
  ["noexec", "exec", f.MS_NOEXEC, f.MOUNT_ATTR_NOEXEC],
  ["nosymfollow", "symfollow", f.MS_NOSYMFOLLOW, f.MOUNT_ATTR_NOSYMFOLLOW],
  ["nodiratime", "diratime", f.MS_NODIRATIME, f.MOUNT_ATTR_NODIRATIME],
  ["noatime", "atime", f.MS_NOATIME, f.MOUNT_ATTR_NOATIME],
  ["relatime", "norelatime", f.MS_RELATIME, f.MOUNT_ATTR_RELATIME],
  ["strictatime", "nostrictatime", f.MS_STRICTATIME, f.MOUNT_ATTR_STRICTATIME],
];

/** Flags of a superblock: no bind can have them. */
const superblock: readonly (readonly [on: string, off: string, flag: number])[] = [
  ["sync", "async", f.MS_SYNCHRONOUS],
  ["dirsync", "nodirsync", f.MS_DIRSYNC],
  ["lazytime", "nolazytime", f.MS_LAZYTIME],
  ["mand", "nomand", f.MS_MANDLOCK],
  ["silent", "loud", f.MS_SILENT],
  ["iversion", "noiversion", f.MS_I_VERSION],
];

const words = new Map<string, Flag>([
  ...pairs.flatMap(([on, off, flag, attribute]): [string, Flag][] => [
    [on, { flag, attribute, on: true }],
    [off, { flag, attribute, on: false }],
  ]),
  ...superblock.flatMap(([on, off, flag]): [string, Flag][] => [
    [on, { flag, attribute: 0, on: true }],
    [off, { flag, attribute: 0, on: false }],
  ]),
]);

const propagations = new Map<string, number>([
  ["private", f.MS_PRIVATE],
  ["rprivate", f.MS_PRIVATE | f.MS_REC],
  ["slave", f.MS_SLAVE],
  ["rslave", f.MS_SLAVE | f.MS_REC],
  ["shared", f.MS_SHARED],
  ["rshared", f.MS_SHARED | f.MS_REC],
  ["unbindable", f.MS_UNBINDABLE],
  ["runbindable", f.MS_UNBINDABLE | f.MS_REC],
]);

/** Every option that is the kernel's, sorted: others are the filesystem's. */
export const mountOptionNames: readonly string[] = [
  "bind",
  "defaults",
  "idmap",
  "rbind",
  "remount",
  "ridmap",
  "tmpcopyup",
  ...words.keys(),
  ...pairs.flatMap(([on, off]) => [`r${on}`, `r${off}`]),
  ...propagations.keys(),
].sort();

/** The flags of a propagation word (`rslave`); 0 for an empty one. */
export function propagationFlags(word: string): number {
  return propagations.get(word) ?? 0;
}

const unsupported = new Set(["move", "loop", "user", "users", "owner"]);

/**
 * Parses options in mount(8)'s words. Later words win over earlier ones; unknown words are the filesystem's own.
 *
 * @throws unimplemented for a word that this runtime knows and cannot do.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#linux-mount-options
 */
export function parseMountOptions(options: readonly string[]): MountOptions {
  let flags = 0;
  let propagation = 0;
  let bind = false;
  let rbind = false;
  let copyUp = false;
  let remount = false;
  let idmap: IdMapWord | undefined;
  const attributes = { set: 0, clear: 0 };
  const recursive = { set: 0, clear: 0 };
  const data: string[] = [];
  for (const option of options) {
    const word = words.get(option);
    const below = word === undefined && option.startsWith("r") ? words.get(option.slice(1)) : undefined;
    if (word !== undefined) {
      flags = word.on ? flags | word.flag : flags & ~word.flag;
      change(attributes, word);
    } else if (below !== undefined) {
      flags = below.on ? flags | below.flag : flags & ~below.flag;
      change(attributes, below);
      change(recursive, below);
    } else if (propagations.has(option)) propagation = propagationFlags(option);
    else if (option === "bind") bind = true;
    else if (option === "rbind") bind = rbind = true;
    else if (option === "tmpcopyup") copyUp = true;
    else if (option === "remount") remount = true;
    else if (option === "idmap" || option === "ridmap") idmap = option;
    else if (option === "defaults" || option === "") continue;
    else if (unsupported.has(option)) {
      throw new Failure("unimplemented", `cannot mount with option ${JSON.stringify(option)}: not supported here`, {
        details: { option },
      });
    } else data.push(option);
  }
  return { flags, attributes, recursive, propagation, bind, rbind, copyUp, idmap, remount, data };
}

/** Access times are a field of the attributes, not bits: whoever sets one value clears the whole field first. */
function change(attributes: { set: number; clear: number }, { attribute, flag, on }: Flag): void {
  const atime = flag === f.MS_NOATIME || flag === f.MS_RELATIME || flag === f.MS_STRICTATIME;
  if (atime) {
    attributes.set = (attributes.set & ~f.MOUNT_ATTR__ATIME) | (on ? attribute : f.MOUNT_ATTR_RELATIME);
    attributes.clear |= f.MOUNT_ATTR__ATIME;
  } else if (on) {
    attributes.set |= attribute;
    attributes.clear &= ~attribute;
  } else {
    attributes.set &= ~attribute;
    attributes.clear |= attribute;
  }
}
