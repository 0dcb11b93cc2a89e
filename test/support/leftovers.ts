import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupParent } from "./mayfly_process.ts";

/** What launches could have left on this machine, as lines to compare before and after. */
export function leftovers(folder: string): readonly string[] {
  return [...mounts(folder), ...cgroups(folder), ...snapshots(folder), ...ingests(folder), ...containers(folder)]
    .sort();
}

function mounts(folder: string): string[] {
  return readFileSync("/proc/self/mounts", "utf8").split("\n").filter((line) => line.includes(folder)).map((line) =>
    `mount ${line}`
  );
}

/** Cgroups of containers, in every hierarchy. */
function cgroups(folder: string): string[] {
  const root = "/sys/fs/cgroup";
  return ["", ...readdirSync(root)]
    .map((hierarchy) => join(root, hierarchy, cgroupParent(folder)))
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) =>
        `cgroup ${path}/${entry.name}`
      )
    );
}

/** Folders of snapshots, without those of committed layers: the caller compares numbers before and after. */
function snapshots(folder: string): string[] {
  const path = join(folder, "root/snapshots");
  if (!existsSync(path)) return [];
  return readdirSync(path).flatMap((snapshotter) =>
    readdirSync(join(path, snapshotter)).map((id) => `snapshot ${snapshotter}/${id}`)
  );
}

/** What containers that live on have in their folder. */
function containers(folder: string): string[] {
  const path = join(folder, "root/containers");
  if (!existsSync(path)) return [];
  return readdirSync(path).flatMap((namespace) =>
    readdirSync(join(path, namespace)).map((id) => `container ${namespace}/${id}`)
  );
}

function ingests(folder: string): string[] {
  const path = join(folder, "root/content/ingest");
  return existsSync(path) ? readdirSync(path).map((id) => `ingest ${id}`) : [];
}
