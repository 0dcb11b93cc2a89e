/**
 * One mount, as containerd and mount(8) describe it.
 * @see https://man7.org/linux/man-pages/man8/mount.8.html
 */
export interface Mount {
  /** The filesystem (`overlay`, `bind`, `tmpfs`, …). */
  readonly type: string;
  /** A device, a folder (for `bind`), or the filesystem's own word. */
  readonly source: string;
  /** Options in mount(8)'s words: `ro`, `rbind`, `lowerdir=/a:/b`, … */
  readonly options: readonly string[];
}

/**
 * The root filesystem of a task.
 *
 * `mounts` come from a snapshotter and are applied in order at one place. With `scratch`, they are read-only lower
 * layers, and the runtime lays a writable layer in memory over them, inside the container's own mount namespace: nothing
 * of it is on the host and nothing has to be removed.
 */
export interface Rootfs {
  readonly mounts: readonly Mount[];
  readonly scratch?: {
    /** Limit of the writable layer in bytes; its pages also count as the container's memory. */
    readonly sizeBytes: number;
  };
}

/**
 * Lays a writable overlay over read-only mounts of a snapshotter.
 *
 * @param mounts one read-only `overlay` or `bind` mount, as `Snapshotter.view` returns it.
 * @param upper an empty folder for what is written; `work` another on the same filesystem.
 * @returns the overlay mount, or undefined when the mounts are of another form.
 */
export function withUpper(mounts: readonly Mount[], upper: string, work: string): Mount | undefined {
  const [mount] = mounts;
  if (mounts.length !== 1 || mount === undefined) return undefined;
  const lower = mount.type === "bind"
    ? `lowerdir=${mount.source.replace(/[\\:,]/g, "\\$&")}`
    : mount.type === "overlay"
    ? mount.options.find((option) => option.startsWith("lowerdir="))
    : undefined;
  if (lower === undefined || mount.options.some((option) => option.startsWith("upperdir="))) return undefined;
  const kept = mount.type === "overlay"
    ? mount.options.filter((option) => option !== "ro" && !option.startsWith("lowerdir="))
    : [];
  return { type: "overlay", source: "overlay", options: [lower, `upperdir=${upper}`, `workdir=${work}`, ...kept] };
}
