import { Failure } from "../../core/errors.ts";
import type { Spec } from "../../core/spec.ts";

/**
 * The cgroup of a container: what its spec says, where a relative path is below the runtime's own cgroup, and its id there
 * where it says nothing.
 * @throws invalid_argument for what is no path of names.
 */
export function containerCgroupPath(parent: string, id: string, spec: Spec): string {
  const path = spec.linux.cgroupsPath ?? "";
  if (path === "") return `${parent}/${id}`;
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.length === 0 || parts.includes("..") || parts.includes(".") || /^[^/]*:[^/]*:/.test(path)) {
    throw new Failure(
      "invalid_argument",
      `cannot use linux.cgroupsPath ${JSON.stringify(path)}: want a path of names`,
      {
        details: { field: "linux.cgroupsPath" },
      },
    );
  }
  return path.startsWith("/") ? `/${parts.join("/")}` : `${parent}/${parts.join("/")}`;
}

/** The cgroup of the daemon with this folder for runtime state: two daemons never share one. The hash is FNV-1a. */
export function defaultCgroupParent(run: string): string {
  if (run === "/run/mayfly") return "/mayfly";
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(run)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `/mayfly-${(hash >>> 0).toString(16).padStart(8, "0")}`;
}
