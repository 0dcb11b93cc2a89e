import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import { propagationFlags } from "../../src/linux/mount/options.ts";
import { chdir } from "../../src/linux/mount/rootfs.ts";
import type { Operation } from "../../src/linux/program.ts";
import { folders, mount } from "./steps.ts";

/** Makes the working directory the root, and lets go of the host's filesystem: from here on every path is inside. */
export function* pivotRoot(): Generator<Operation> {
  yield { syscall: "pivot_root", args: [".", "."], why: "make the root filesystem the root" };
  yield { syscall: "umount2", args: [".", f.MNT_DETACH], why: "let go of the host's filesystem" };
  yield chdir("/", "enter the new root");
}

/** The first half of `pivotRoot`: the host's filesystem stays where it was, on top of the root, where no path leads. */
export function* turnRoot(): Generator<Operation> {
  yield { syscall: "pivot_root", args: [".", "."], why: "make the root filesystem the root" };
}

/** The other half. */
export function* leaveRoot(): Generator<Operation> {
  yield chdir("/", "go to the root");
  yield { syscall: "umount2", args: [".", f.MNT_DETACH], why: "let go of the host's filesystem" };
  yield chdir("/", "enter the new root");
}

/** The same where pivot_root(2) cannot be used: the host's filesystem stays, out of reach but below. */
export function* moveRoot(): Generator<Operation> {
  yield mount(".", "/", { flags: f.MS_MOVE, why: "move the root filesystem to the root" });
  yield { syscall: "chroot", args: ["."], why: "make it the root" };
  yield chdir("/", "enter the new root");
}

/** What is set on the root itself once everything is mounted: the working directory, propagation, read-only. */
export function* sealRootfs(spec: Spec, cwd: string, made: Set<string>): Generator<Operation> {
  yield* folders(cwd, made);
  const propagation = propagationFlags(spec.linux.rootfsPropagation ?? "");
  if (propagation !== 0) yield mount(0, "/", { flags: propagation, why: "set the root's mount propagation" });
  if (spec.root?.readonly === true) {
    yield {
      syscall: "mount_setattr",
      args: [f.AT_FDCWD, "/", 0, [f.MOUNT_ATTR_RDONLY, 0, 0, 0], 32],
      why: "make the root read-only",
    };
  }
}
