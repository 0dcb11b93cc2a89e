import { AT_FDCWD, X_OK } from "./flags.ts";
import type { Kernel } from "./kernel.ts";

/** Where a machine keeps its programs, whatever the daemon's own PATH is. */
export const programFolders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] as const;

/** The path of an executable program of this machine, or undefined. @param name an absolute path stands for itself. */
export function findProgram(kernel: Kernel, name: string): string | undefined {
  const files = name.startsWith("/") ? [name] : programFolders.map((folder) => `${folder}/${name}`);
  return files.find((file) => kernel.attempt("faccessat", AT_FDCWD, file, X_OK) === 0);
}
