import type { FunctionSettings } from "../core/function.ts";
import type { Exit } from "../core/task.ts";

/** What programs of every language print of ENOSPC: the words that libc has for it. */
const noSpace = /no space left on device/i;

/** The filesystems in memory that a container has with limits. */
export type SpaceLimits = Pick<FunctionSettings, "mounts"> & {
  /** That of its root; undefined where this is on the machine's disk. */
  readonly scratchBytes: number | undefined;
};

/**
 * Which limits a container may have met that ended because no space was left. They have gone with it by then, so that its own
 * words are all there is, and the most memory that it had: what it wrote there counts as that.
 * @param said the end of what it wrote to its log.
 * @returns a sentence's end; undefined where it says nothing of the kind.
 */
export function outOfSpace(said: string | undefined, { usage }: Exit, limits: SpaceLimits): string | undefined {
  if (said === undefined || !noSpace.test(said)) return undefined;
  const { scratchBytes, mounts } = limits;
  const peakBytes = usage.memoryPeakBytes ?? Infinity;
  const full = [
    ...(scratchBytes === undefined ? [] : [{ what: "its root filesystem", bytes: scratchBytes, by: "scratchBytes" }]),
    ...mounts.flatMap((mount) =>
      mount.type === "tmpfs" && mount.sizeBytes !== undefined
        ? [{ what: mount.target, bytes: mount.sizeBytes, by: "mounts" }]
        : []
    ),
  ].filter(({ bytes }) => bytes <= peakBytes).map(({ what, bytes, by }) => `${what} may have ${bytes} bytes (${by})`);
  return full.length === 0 ? undefined : `it found no space left on a device: ${full.join(", ")}`;
}
