import { existsSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { NativeRuntime } from "../../runtimes/native/runtime.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout, type Layout } from "../../src/linux/cgroup/mod.ts";
import { idlePrefix } from "../../src/linux/cgroup/pool.ts";
import { Criu } from "../../src/linux/criu.ts";
import { Children } from "../../src/linux/children.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { generateSpec } from "../../src/tasks/spec.ts";

const mountPoints = ["/sys/fs/cgroup", ...readdirSync("/sys/fs/cgroup").map((name) => `/sys/fs/cgroup/${name}`)];

/** A native runtime of its own. @param layout in place of the machine's. */
export async function nativeRuntime(
  run: string,
  cgroupParent: string,
  { layout, criu }: { readonly layout?: Layout | undefined; readonly criu?: string | undefined } = {},
): Promise<NativeRuntime> {
  const kernel = new Kernel(await currentHost());
  const children = new Children(kernel);
  return new NativeRuntime({
    kernel,
    children,
    criu: new Criu(kernel, children, criu),
    cgroups: new Cgroups(kernel, layout ?? detectLayout(kernel)),
    folder: join(run, "rootfs"),
    cgroupParent,
  });
}

/** The full default configuration around a command. */
export function specFor(args: readonly string[]): Spec {
  const image = { os: "linux", architecture: "amd64", rootfs: { type: "layers" as const, diff_ids: [] } };
  const spec = generateSpec({ image, id: "test", settings: { command: [...args] } });
  const { cgroupsPath: _, ...linux } = spec.linux;
  return { ...spec, linux };
}

/** A root with a scratch layer in memory. */
export function busyboxRootfs(root: string): Rootfs {
  return { mounts: [{ type: "bind", source: root, options: ["rbind", "ro"] }], scratch: { sizeBytes: 1 << 20 } };
}

/** The folders of containers' cgroups below a parent, without those that wait for the next container. */
export function cgroupsOf(parent: string): readonly string[] {
  return foldersBelow(parent).filter((path) => !path.includes(`/${idlePrefix}`));
}

/** The folders of cgroups that wait for the next container. */
export function idleCgroupsOf(parent: string): readonly string[] {
  return foldersBelow(parent).filter((path) => path.includes(`/${idlePrefix}`));
}

function foldersBelow(parent: string): readonly string[] {
  return mountPoints.map((point) => point + parent).filter((path) => existsSync(path)).flatMap((path) =>
    readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) =>
      join(path, name)
    )
  );
}

/** Removes an empty parent. */
export function removeCgroups(parent: string): void {
  for (const point of mountPoints) if (existsSync(point + parent)) rmdirSync(point + parent);
}

/** Whether a parent is there in any hierarchy. */
export function hasCgroups(parent: string): boolean {
  return mountPoints.some((point) => existsSync(point + parent));
}
