import { statSync } from "node:fs";
import type { ContainerMount } from "../core/container_mount.ts";
import { Failure } from "../core/errors.ts";
import type { SpecMount } from "../core/spec.ts";

/** What a caller has mounted, as the runtime specification says it: outer ones first, so that none hides another. */
export function specMounts(mounts: readonly ContainerMount[]): readonly SpecMount[] {
  const depth = ({ target }: ContainerMount) => target.split("/").filter((part) => part !== "" && part !== ".").length;
  return mounts.toSorted((a, b) => depth(a) - depth(b)).map((mount): SpecMount => {
    if (mount.type === "tmpfs") {
      const size = mount.sizeBytes === undefined ? [] : [`size=${mount.sizeBytes}`];
      const options = ["nosuid", "nodev", "noexec", `mode=${mount.mode.toString(8)}`, ...size];
      return { destination: mount.target, type: "tmpfs", source: "tmpfs", options };
    }
    if (mount.type === "image") {
      throw new Failure(
        "unimplemented",
        `cannot mount image ${JSON.stringify(mount.source)}: images are mounted into functions alone, deploy one`,
        { details: { field: "mounts" } },
      );
    }
    const options = ["rbind", ...(mount.readonly ? ["ro", "rro"] : ["rw"]), mount.propagation];
    return { destination: mount.target, type: "bind", source: mount.source, options };
  });
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
