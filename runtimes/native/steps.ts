import type { Operation } from "../../src/linux/program.ts";
import {
  AT_FDCWD,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFREG,
} from "../../src/linux/flags.ts";
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

/** The descriptor of the container's root, from `openRoot` on. */
const root = { ref: "root" };

/** Takes hold of the container's root, so that paths in it are found from there. @param path where it is. */
export function* openRoot(path = "/"): Generator<Operation> {
  yield {
    syscall: "openat",
    args: [AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0],
    store: root.ref,
    why: "take hold of the root",
  };
}

/**
 * Takes hold of what is at a path of the container, to mount on it by its descriptor: what the path leads to may be another
 * thing a moment later, where others have the same image. The links of the image are followed inside the root; those of
 * /proc, which lead to descriptors and other processes' files, never are.
 * @param store the descriptor's name, to be given to `close`.
 */
export function find(
  path: string,
  store: string,
  options: { readonly why: string; readonly folder?: boolean; readonly links?: boolean },
): Operation {
  const { why, folder = false, links = true } = options;
  const flags = O_PATH | O_CLOEXEC | (folder ? O_DIRECTORY : 0);
  const resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (links ? 0 : RESOLVE_NO_SYMLINKS);
  return { syscall: "openat2", args: [root, path, [flags, 0, resolve], 24], store, why };
}

/**
 * Makes a place to mount on, and the missing folders above it, where the root is not entered: no link of the image leads out.
 * Where one is there already, or cannot be made, who mounts there tells.
 */
export function* place(path: string, kind: "folder" | "file"): Generator<Operation> {
  const why = `make ${kind} ${quote(path)}`;
  for (let from = 0; from !== -1;) {
    const slash = path.indexOf("/", from + 1);
    const [parent, name] = [path.slice(0, from) || "/", path.slice(from + 1, slash === -1 ? undefined : slash)];
    yield { ...find(parent, "parent", { why, folder: true }), onError: "ignore" };
    yield slash === -1 && kind === "file"
      ? { syscall: "mknodat", args: [{ ref: "parent" }, name, S_IFREG | 0o644, 0], why, onError: "ignore" }
      : { syscall: "mkdirat", args: [{ ref: "parent" }, name, 0o755], why, onError: "ignore" };
    yield close("parent", why);
    from = slash;
  }
}

/** Attaches a mount that is held to what `find` has found. */
export function attach(store: string, target: string, why: string): Operation {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  return { syscall: "move_mount", args: [{ ref: store }, "", { ref: target }, "", flags], why };
}

export function close(store: string, why: string): Operation {
  return { syscall: "close", args: [{ ref: store }], why, onError: "ignore" };
}
