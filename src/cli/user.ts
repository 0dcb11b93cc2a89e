/** The user that this process runs for, who need not be root. */
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";

type Environment = Readonly<Record<string, string | undefined>>;

/** Tells the process that has become root of a user namespace that it is an ordinary user's. */
export const rootlessMark = "MAYFLY_ROOTLESS";

/** Whether this process is an ordinary user's, also where it is root of that user's namespace by now. */
export function isRootless(env: Environment): boolean {
  return process.geteuid?.() !== 0 || env[rootlessMark] === "1";
}

/** A user's own folders, in place of the system's. @see https://specifications.freedesktop.org/basedir-spec/latest/ */
export function userFolders(
  env: Environment,
): { readonly root: string; readonly run: string; readonly config: string } {
  const home = env["HOME"] || homedir();
  const folder = (name: string) => env[name]?.startsWith("/") ? env[name] : undefined;
  const root = join(folder("XDG_DATA_HOME") ?? join(home, ".local/share"), "mayfly");
  const runtime = folder("XDG_RUNTIME_DIR");
  return {
    root,
    // Not in /tmp, where somebody else could have made it.
    run: runtime === undefined ? join(root, "run") : join(runtime, "mayfly"),
    config: join(folder("XDG_CONFIG_HOME") ?? join(home, ".config"), "mayfly"),
  };
}
