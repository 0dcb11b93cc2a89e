import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { attach, close, find, mount, quote } from "./steps.ts";

const clone = f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC | f.AT_EMPTY_PATH;

/**
 * Hides paths: a file behind the null device, a folder behind an empty, read-only tmpfs. Those that are missing are left.
 *
 * Each path is opened once and mounted on by its descriptor, and so is the device, which is proved to be it: whoever could
 * put another file at `/dev/null` would have that shown in place of what is to be hidden. A folder is told by opening it as
 * one, since trying the wrong mount is no cheap question: undoing one that fails waits for a grace period of RCU.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#masked-paths
 */
export function* maskPaths(paths: readonly string[]): Generator<Operation> {
  const unique = [...new Set(paths)];
  if (unique.length === 0) return;
  yield* openNull();
  for (const [index, path] of unique.entries()) {
    const why = `mask ${quote(path)}`;
    const [file, next] = [`mask-file:${index}`, { goto: `mask:${index + 1}` }];
    yield { ...find(path, "masked", { why: `look for ${quote(path)}`, folder: true }), onError: { goto: file } };
    yield { syscall: "fchdir", args: [{ ref: "masked" }], why };
    yield mount("tmpfs", ".", { type: "tmpfs", flags: f.MS_RDONLY, data: "size=0,nr_inodes=2", why });
    yield { ...close("masked", why), onZero: next };
    yield { ...find(path, "masked", { why: `look for ${quote(path)}` }), label: file, onError: next };
    yield { syscall: "open_tree", args: [{ ref: "null" }, "", clone], store: "mask", why };
    yield attach("mask", "masked", why);
    yield close("mask", why);
    yield close("masked", why);
    yield { syscall: "getpid", args: [], why: "go on", label: next.goto };
  }
  yield close("null", "close the null device");
  yield { syscall: "fchdir", args: [{ ref: "root" }], why: "go back to the root" };
}

/** Opens the null device of the container: the one file where every seek leads to the start, and every read to the end. */
function* openNull(): Generator<Operation> {
  const why = "find the null device, and nothing else, at /dev/null";
  const flags = f.O_RDONLY | f.O_NOFOLLOW | f.O_NONBLOCK | f.O_NOCTTY | f.O_CLOEXEC;
  const null_ = { ref: "null" };
  yield { syscall: "openat", args: [f.AT_FDCWD, "/dev/null", flags, 0], store: "null", why };
  yield { syscall: "lseek", args: [null_, 1, f.SEEK_SET], why, onNonZero: { goto: "not-null" } };
  yield {
    syscall: "read",
    args: [null_, { out: "null-byte", size: 1 }, 1],
    why,
    onZero: { goto: "is-null" },
    onNonZero: { goto: "not-null" },
  };
  // Nothing is a folder below a device: this says ENOTDIR.
  yield { syscall: "openat", args: [null_, "x", f.O_PATH | f.O_CLOEXEC, 0], why, label: "not-null" };
  yield { syscall: "close", args: [-1], why };
  yield { syscall: "getpid", args: [], why: "go on", label: "is-null" };
}

/**
 * Makes paths read-only, with what is mounted below them. Those that are missing are left.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#readonly-paths
 */
export function* protectPaths(paths: readonly string[]): Generator<Operation> {
  for (const path of new Set(paths)) {
    const next = `protected:${path}`;
    const why = `make ${quote(path)} read-only`;
    yield { ...find(path, "protected", { why: `look for ${quote(path)}` }), onError: { goto: next } };
    const flags = clone | f.AT_RECURSIVE;
    yield { syscall: "open_tree", args: [{ ref: "protected" }, "", flags], store: "protection", why };
    yield {
      syscall: "mount_setattr",
      args: [{ ref: "protection" }, "", f.AT_EMPTY_PATH | f.AT_RECURSIVE, [f.MOUNT_ATTR_RDONLY, 0, 0, 0], 32],
      why,
    };
    yield attach("protection", "protected", why);
    yield close("protection", why);
    yield close("protected", why);
    yield { syscall: "getpid", args: [], why: "go on", label: next };
  }
}
