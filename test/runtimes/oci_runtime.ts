import assert from "node:assert/strict";
import { OciRuntime } from "../../runtimes/oci/runtime.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { Criu } from "../../src/linux/criu.ts";
import { Children } from "../../src/linux/children.ts";
import { findProgram } from "../../src/linux/find_program.ts";
import { Kernel } from "../../src/linux/kernel.ts";

/** A runtime of its own over an OCI runtime's program. @param criu its path. Default: it has no checkpoints. */
export async function ociRuntimeOf(
  name: string,
  folder: string,
  cgroupParent: string,
  criu?: string,
): Promise<OciRuntime> {
  const kernel = new Kernel(await currentHost());
  const program = findProgram(kernel, name);
  assert.ok(program !== undefined, `there is no ${name}`);
  const children = new Children(kernel);
  return new OciRuntime({
    id: name,
    program,
    lacks: criu === undefined ? ["checkpoint"] : [],
    kernel,
    children,
    criu: new Criu(kernel, children, criu),
    cgroups: new Cgroups(kernel, detectLayout(kernel)),
    folder,
    cgroupParent,
  });
}
