import { statSync } from "node:fs";
import type { ContainerMount } from "../core/container_mount.ts";
import { Failure } from "../core/errors.ts";
import type { Spec, SpecMount } from "../core/spec.ts";

/** Nobody gets rights or devices by what is mounted of an image. */
const imageOptions = ["bind", "ro", "nosuid", "nodev", "private"];

/**
 * What a caller has mounted, as the runtime specification says it: outer ones first, so that none hides another.
 * @param volumes where images are on this machine, by the targets of their mounts.
 */
export function specMounts(
  mounts: readonly ContainerMount[],
  volumes: ReadonlyMap<string, string> = new Map(),
): readonly SpecMount[] {
  const depth = ({ target }: ContainerMount) => target.split("/").filter((part) => part !== "" && part !== ".").length;
  return mounts.toSorted((a, b) => depth(a) - depth(b)).map((mount): SpecMount => {
    if (mount.type === "tmpfs") {
      const size = mount.sizeBytes === undefined ? [] : [`size=${mount.sizeBytes}`];
      const options = ["nosuid", "nodev", "noexec", `mode=${mount.mode.toString(8)}`, ...size];
      return { destination: mount.target, type: "tmpfs", source: "tmpfs", options };
    }
    if (mount.type === "image") {
      const source = volumes.get(mount.target);
      if (source === undefined) {
        throw new Failure("internal", `cannot mount image ${JSON.stringify(mount.source)}: nobody has opened it`);
      }
      return { destination: mount.target, type: "bind", source, options: imageOptions };
    }
    const options = ["rbind", ...(mount.readonly ? ["ro", "rro"] : ["rw"]), mount.propagation];
    return { destination: mount.target, type: "bind", source: mount.source, options };
  });
}

/** The same configuration with images where they are now. @param volumes as for `specMounts`. */
export function withVolumes(spec: Spec, volumes: ReadonlyMap<string, string>): Spec {
  if (volumes.size === 0) return spec;
  const mounts = spec.mounts?.map((mount) => ({ ...mount, source: volumes.get(mount.destination) ?? mount.source }));
  return { ...spec, ...(mounts && { mounts }) };
}

/** @throws invalid_argument for a source that is not there. */
export function checkSources(mounts: readonly ContainerMount[]): void {
  for (const mount of mounts) {
    if (mount.type !== "bind" || statSync(mount.source, { throwIfNoEntry: false }) !== undefined) continue;
    throw new Failure(
      "invalid_argument",
      `cannot mount ${JSON.stringify(mount.source)}: it is not there: make it first, on the daemon's machine`,
      { details: { field: "mounts" } },
    );
  }
}
