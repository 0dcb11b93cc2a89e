import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { mount, quote } from "./steps.ts";

/**
 * Hides paths: a file behind `/dev/null`, a folder behind an empty, read-only tmpfs. Those that are missing are left.
 *
 * A folder is told by the slash that only its path may end in, since trying the wrong mount is no cheap question: undoing
 * one that fails waits for a grace period of RCU.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#masked-paths
 */
export function* maskPaths(paths: readonly string[]): Generator<Operation> {
  const unique = [...new Set(paths)];
  for (const [index, path] of unique.entries()) {
    const why = `mask ${quote(path)}`;
    const [folder, next] = [`mask-folder:${index}`, { goto: `mask:${index + 1}` }];
    yield { ...exists(path), label: `mask:${index}`, onError: next };
    yield { ...exists(`${path}/`), onError: "ignore", onZero: { goto: folder } };
    yield { ...mount("/dev/null", path, { flags: f.MS_BIND, why }), onZero: next };
    const options = { type: "tmpfs", flags: f.MS_RDONLY, data: "size=0,nr_inodes=2", why };
    yield { ...mount("tmpfs", path, options), label: folder };
  }
  yield { syscall: "getpid", args: [], why: "go on", label: `mask:${unique.length}` };
}

/**
 * Makes paths read-only, with what is mounted below them. Those that are missing are left.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#readonly-paths
 */
export function* protectPaths(paths: readonly string[]): Generator<Operation> {
  for (const path of new Set(paths)) {
    const next = `protected:${path}`;
    const why = `make ${quote(path)} read-only`;
    yield { ...exists(path), onError: { goto: next } };
    yield mount(path, path, { flags: f.MS_BIND | f.MS_REC, why });
    yield {
      syscall: "mount_setattr",
      args: [f.AT_FDCWD, path, f.AT_RECURSIVE, [f.MOUNT_ATTR_RDONLY, 0, 0, 0], 32],
      why,
    };
    yield { syscall: "getpid", args: [], why: "go on", label: next };
  }
}

function exists(path: string): Operation {
  return { syscall: "faccessat", args: [f.AT_FDCWD, path, f.F_OK], why: `look for ${quote(path)}` };
}
