import type { Operation } from "../../src/linux/program.ts";
import { AT_FDCWD, S_IFREG } from "../../src/linux/flags.ts";
import { quote } from "../../src/linux/mount/step.ts";

/** Steps that several parts of the plan need. */

export { mount, quote } from "../../src/linux/mount/step.ts";

/** Makes a folder and the missing ones above it. Where one is there already, or cannot be made, the next step tells. */
export function* folders(path: string, made: Set<string>, mode = 0o755): Generator<Operation> {
  for (let end = path.indexOf("/", 1); end !== -1; end = path.indexOf("/", end + 1)) {
    yield* folder(path.slice(0, end), made, mode);
  }
  yield* folder(path, made, mode);
}

function* folder(path: string, made: Set<string>, mode: number): Generator<Operation> {
  if (made.has(path)) return;
  made.add(path);
  yield { syscall: "mkdirat", args: [AT_FDCWD, path, mode], why: `make folder ${quote(path)}`, onError: "ignore" };
}

/** Makes an empty file, as a place to mount on, without opening what may be there instead. */
export function* file(path: string, made: Set<string>): Generator<Operation> {
  const slash = path.lastIndexOf("/");
  if (slash > 0) yield* folders(path.slice(0, slash), made);
  yield {
    syscall: "mknodat",
    args: [AT_FDCWD, path, S_IFREG | 0o644, 0],
    why: `make file ${quote(path)}`,
    onError: "ignore",
  };
}

/** An absolute path without `.`, `..`, repeated or trailing slashes. */
export function clean(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return `/${parts.join("/")}`;
}
