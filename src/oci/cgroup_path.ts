import type { Spec } from "../core/spec.ts";
import { containerCgroupPath } from "../linux/cgroup/container_path.ts";

/** Where containers are that name no cgroup. */
const parent = "/mayfly-oci";

/**
 * The cgroup of a container.
 * @param systemd whether the path has the form `slice:prefix:name`. There is no talk with systemd: the folder is made where
 * it would be, so that limits and names are the same.
 * @throws invalid_argument for what is no path.
 */
export function cgroupPathOf(id: string, spec: Spec, systemd: boolean): string {
  const path = spec.linux.cgroupsPath;
  const parts = path?.split(":") ?? [];
  if (!systemd || parts.length !== 3) return containerCgroupPath(parent, id, spec);
  const [slice = "", prefix = "", name = ""] = parts;
  const cgroupsPath = `${sliceFolder(slice === "" ? "system.slice" : slice)}/${scope(prefix, name)}`;
  return containerCgroupPath(parent, id, { ...spec, linux: { ...spec.linux, cgroupsPath } });
}

function scope(prefix: string, name: string): string {
  if (name.endsWith(".slice")) return name;
  return prefix === "" ? `${name}.scope` : `${prefix}-${name}.scope`;
}

/** `a-b.slice` is the folder `/a.slice/a-b.slice`. @see https://www.freedesktop.org/software/systemd/man/systemd.slice.html */
function sliceFolder(slice: string): string {
  const names = slice.replace(/\.slice$/, "").split("-").filter((part) => part !== "");
  return names.map((_, index) => `/${names.slice(0, index + 1).join("-")}.slice`).join("");
}
