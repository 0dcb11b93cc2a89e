import * as f from "../flags.ts";
import type { Operation, Program } from "../program.ts";
import type { Results } from "../results.ts";
import type { Hierarchy } from "./layout.ts";
import { describe, type Limit, limitFailure } from "./limit.ts";
import { errno } from "../errno.ts";

/** Makes a cgroup with its limits. The paths are holes, under the names that they have at the hierarchy's root. */
export function cgroupProgram(hierarchies: readonly Hierarchy[], limits: readonly Limit[]): Program {
  return [...makeFolders(hierarchies), ...writeLimits(limits)];
}

/** @throws for the first limit that was not taken: by the kernel, or because it has no such file. */
export function checkLimits(results: Results, limits: readonly Limit[], openers: readonly number[]): void {
  for (const [index, limit] of limits.entries()) {
    const opened = results.get(`open:${openers[index]}`);
    const result = opened < 0 ? opened : results.get(`limit:${index}`);
    if (result < 0 && !(limit.optional === true && result === -errno.ENOENT)) throw limitFailure(limit, result);
  }
}

function* makeFolders(hierarchies: readonly Hierarchy[]): Generator<Operation> {
  for (const { path, name } of hierarchies) {
    yield {
      syscall: "mkdirat",
      args: [f.AT_FDCWD, { hole: path }, 0o755],
      why: `make cgroup in ${JSON.stringify(name)}`,
    };
  }
}

const encoder = new TextEncoder();

/** The files that a limit may be written into. */
export function filesOf({ file, instead }: Limit): readonly string[] {
  return instead === undefined ? [file] : [file, instead.file];
}

/** For each limit, the first of those in a row that go into the same file: it opens it for all. */
export function openersOf(limits: readonly Limit[]): readonly number[] {
  const openers: number[] = [];
  for (const [index, { hierarchy, file }] of limits.entries()) {
    const before = limits[index - 1];
    const same = before?.instead === undefined && before?.hierarchy === hierarchy && before.file === file;
    openers.push(same ? openers[index - 1] ?? index : index);
  }
  return openers;
}

/** Opens each file once, however many values go into it in a row. What the kernel said is looked at when all are closed. */
function* writeLimits(limits: readonly Limit[]): Generator<Operation> {
  const openers = openersOf(limits);
  for (const [index, limit] of limits.entries()) {
    const { hierarchy, file, value, instead } = limit;
    const why = describe(limit);
    const fd = `open:${openers[index]}`;
    const open = (name: string): Operation => ({
      syscall: "openat",
      args: [f.AT_FDCWD, { hole: `${hierarchy.path}/${name}` }, f.O_WRONLY | f.O_CLOEXEC, 0],
      store: fd,
      why,
      onError: "ignore",
    });
    const write = (text: string): Operation => {
      const bytes = encoder.encode(text);
      const args = [{ ref: fd }, bytes, bytes.length];
      return { syscall: "write", args, store: `limit:${index}`, why, onError: "ignore" };
    };
    const close: Operation = { syscall: "close", args: [{ ref: fd }], why, onError: "ignore" };
    if (instead !== undefined) {
      const [other, next] = [`other:${index}`, `next:${index}`];
      yield { ...open(file), onError: { goto: other } };
      yield write(value);
      yield { ...close, onZero: { goto: next } };
      yield { ...open(instead.file), label: other };
      yield write(instead.value);
      yield close;
      yield { syscall: "getpid", args: [], why: "go on", label: next };
      continue;
    }
    if (openers[index] === index) yield open(file);
    yield write(value);
    if (openers[index + 1] !== openers[index]) yield close;
  }
}
