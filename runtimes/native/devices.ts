import { Failure } from "../../src/core/errors.ts";
import type { Spec, SpecDevice } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { attach, clean, close, file, find, folders, quote } from "./steps.ts";

const character = (path: string, major: number, minor: number): SpecDevice => ({ type: "c", path, major, minor });

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#default-devices */
const defaultDevices: readonly SpecDevice[] = [
  character("/dev/null", 1, 3),
  character("/dev/zero", 1, 5),
  character("/dev/full", 1, 7),
  character("/dev/random", 1, 8),
  character("/dev/urandom", 1, 9),
  character("/dev/tty", 5, 0),
];

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime-linux.md#dev-symbolic-links */
const links: readonly (readonly [path: string, target: string])[] = [
  ["/dev/fd", "/proc/self/fd"],
  ["/dev/stdin", "/proc/self/fd/0"],
  ["/dev/stdout", "/proc/self/fd/1"],
  ["/dev/stderr", "/proc/self/fd/2"],
  ["/dev/ptmx", "pts/ptmx"],
];

/** Where a bind mount covers `/dev`, its owner says what is there. */
function ownsDev(spec: Spec): boolean {
  return !(spec.mounts ?? []).some(({ destination, type, options }) =>
    clean(destination) === "/dev" && (type === "bind" || options?.includes("bind") || options?.includes("rbind"))
  );
}

/** Makes the device nodes and links of `/dev`. */
export function* makeDevices(spec: Spec, made: Set<string>): Generator<Operation> {
  const fresh = (spec.mounts ?? []).some(({ destination }) => clean(destination) === "/dev");
  const own = ownsDev(spec);
  if (own) {
    for (const device of defaultDevices) yield* makeNode(device, made, fresh);
    for (const [path, target] of links) {
      if (!fresh) yield remove(path);
      yield { syscall: "symlinkat", args: [target, f.AT_FDCWD, path], why: `link ${quote(path)} to ${quote(target)}` };
    }
  }
  for (const device of spec.linux.devices ?? []) {
    if (own && defaultDevices.some(({ path }) => path === clean(device.path))) yield remove(clean(device.path));
    yield* makeNode(device, made, fresh);
  }
}

/** Takes hold of the host's devices: in a user namespace none can be made. */
export function* holdDevices(spec: Spec): Generator<Operation> {
  for (const path of devicePaths(spec)) {
    yield {
      syscall: "open_tree",
      args: [f.AT_FDCWD, path, f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC],
      store: `device:${path}`,
      why: `bind device ${quote(path)}`,
    };
  }
}

/** Puts the devices that are held, and the links, into `/dev`. */
export function* attachDevices(spec: Spec, made: Set<string>): Generator<Operation> {
  for (const path of devicePaths(spec)) {
    const why = `bind device ${quote(path)}`;
    yield* file(path, made);
    yield find(path, `place:${path}`, { why });
    yield attach(`device:${path}`, `place:${path}`, why);
    yield close(`device:${path}`, why);
    yield close(`place:${path}`, why);
  }
  if (!ownsDev(spec)) return;
  for (const [path, target] of links) {
    yield remove(path);
    yield { syscall: "symlinkat", args: [target, f.AT_FDCWD, path], why: `link ${quote(path)} to ${quote(target)}` };
  }
}

function devicePaths(spec: Spec): ReadonlySet<string> {
  const own = ownsDev(spec) ? defaultDevices : [];
  return new Set([...own, ...spec.linux.devices ?? []].map(({ path }) => clean(path)));
}

const types = { c: f.S_IFCHR, u: f.S_IFCHR, b: f.S_IFBLK, p: f.S_IFIFO } as const;

function* makeNode(device: SpecDevice, made: Set<string>, fresh: boolean): Generator<Operation> {
  const path = clean(device.path);
  const parent = path.slice(0, path.lastIndexOf("/"));
  if (parent !== "") yield* folders(parent, made);
  if (!fresh || !path.startsWith("/dev/")) yield remove(path);
  const mode = types[device.type] | ((device.fileMode ?? 0o666) & 0o7777);
  const number = device.type === "p" ? 0 : deviceNumber(device.major ?? 0, device.minor ?? 0);
  yield { syscall: "mknodat", args: [f.AT_FDCWD, path, mode, number], why: `make device ${quote(path)}` };
  const { uid, gid } = device;
  if (uid || gid) {
    yield {
      syscall: "fchownat",
      args: [f.AT_FDCWD, path, uid ?? 0, gid ?? 0, f.AT_SYMLINK_NOFOLLOW],
      why: `give device ${quote(path)} to ${uid ?? 0}:${gid ?? 0}`,
    };
  }
}

function remove(path: string): Operation {
  return { syscall: "unlinkat", args: [f.AT_FDCWD, path, 0], why: `clear ${quote(path)}`, onError: "ignore" };
}

/**
 * The kernel's `dev_t` for mknod(2): 12 bits of major, 20 of minor.
 * @throws invalid_argument for numbers that do not fit.
 */
export function deviceNumber(major: number, minor: number): number {
  if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) {
    throw new Failure("invalid_argument", `cannot make device ${major}:${minor}: want 0-4095 and 0-1048575`);
  }
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
