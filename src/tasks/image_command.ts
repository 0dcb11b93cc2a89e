import { Failure } from "../core/errors.ts";
import type { Spec } from "../core/spec.ts";
import type { ImageRoot } from "./image_root.ts";

/** Where commands are looked for when the environment has no PATH. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** As many as the kernel follows. */
const mostLinks = 40;
/** A script's interpreter may be a script, to this depth. @see https://man7.org/linux/man-pages/man2/execve.2.html */
const mostInterpreters = 5;

/**
 * Makes sure that what a container executes first is the image's own: its command, or the interpreter of its script.
 *
 * Until a container's process has executed something, `/proc/self/exe` is this daemon's executable, so a command or
 * interpreter that leads into /proc could run it, and hold on to it (CVE-2019-5736). Nothing that is mounted over the
 * image holds a command, so whatever leads there is refused.
 *
 * @throws invalid_argument, with `details.exitCode` 127 as a shell has it, where the image has no such command.
 */
export function checkCommand(root: ImageRoot, spec: Spec): void {
  const [command = ""] = spec.process.args;
  const mounts = new Set((spec.mounts ?? []).map(({ destination }) => destination.replace(/\/+$/, "")));
  for (const candidate of candidates(spec)) {
    const found = resolve(root, candidate, mounts);
    if (found === undefined) continue;
    if (found === "mounted") {
      throw refusal(command, "leads into what is mounted over the image: start it by a program of the image, as sh -c");
    }
    checkInterpreter(root, found, command, mounts);
    return;
  }
  throw refusal(command, "is not in the image");
}

function checkInterpreter(root: ImageRoot, path: string, command: string, mounts: ReadonlySet<string>): void {
  let script = path;
  for (let depth = 0; depth <= mostInterpreters; depth++) {
    const interpreter = /^#![ \t]*([^ \t\n]+)/.exec(root.readHead(script) ?? "")?.[1];
    if (interpreter === undefined) return;
    const found = resolve(root, interpreter, mounts);
    if (found === undefined || found === "mounted") {
      throw refusal(command, `is a script for ${JSON.stringify(interpreter.slice(0, 256))}, which is not in the image`);
    }
    script = found;
  }
}

/** The files that a command may be, in the order of PATH. */
function candidates({ process: { args, env, cwd } }: Spec): readonly string[] {
  const [command = ""] = args;
  if (command.includes("/")) return [command.startsWith("/") ? command : `${cwd}/${command}`];
  const path = env?.findLast((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? defaultPath;
  return path.split(":").map((folder) => `${folder.startsWith("/") ? folder : `${cwd}/${folder}`}/${command}`);
}

/**
 * Follows a path as the container will, name by name, since only so is it seen where a mount comes in between.
 * @returns the file's path without links; undefined where there is no such file.
 */
function resolve(root: ImageRoot, path: string, mounts: ReadonlySet<string>): string | "mounted" | undefined {
  const pending = path.split("/");
  let at: string[] = [];
  for (let links = 0; pending.length > 0;) {
    const name = pending.shift();
    if (name === undefined || name === "" || name === ".") continue;
    if (name === "..") {
      at.pop();
      continue;
    }
    const next = [...at, name];
    if (mounts.has(`/${next.join("/")}`)) return "mounted";
    const found = root.look(next.join("/"));
    if (found === undefined) return undefined;
    if (typeof found === "object") {
      if (++links > mostLinks) return undefined;
      if (found.link.startsWith("/")) at = [];
      pending.unshift(...found.link.split("/"));
    } else if (found === "file") return pending.some((rest) => rest !== "") ? undefined : next.join("/");
    else at = next;
  }
  return undefined;
}

function refusal(command: string, why: string): Failure {
  return new Failure("invalid_argument", `cannot run command ${JSON.stringify(command.slice(0, 256))}: it ${why}`, {
    details: { field: "command", exitCode: 127 },
  });
}
