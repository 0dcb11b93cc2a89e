import { Failure } from "../../src/core/errors.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { kernelRead } from "../../src/linux/kernel_read.ts";
import type { Operation } from "../../src/linux/program.ts";
import { quote } from "./steps.ts";

/** What AppArmor calls having no profile. */
const unconfined = "unconfined";

/** @throws failed_precondition for a label that this kernel has no use for. */
export function checkLabels(kernel: Kernel, process: SpecProcess, linux?: Spec["linux"]): void {
  const profile = process.apparmorProfile ?? "";
  if (profile !== "" && profile !== unconfined && !hasAppArmor(kernel)) {
    throw missing("process.apparmorProfile", "AppArmor");
  }
  for (
    const [field, label] of [
      ["process.selinuxLabel", process.selinuxLabel],
      ["linux.mountLabel", linux?.mountLabel],
    ]
  ) {
    if (label && kernel.attempt("faccessat", f.AT_FDCWD, "/sys/fs/selinux/enforce", f.F_OK) !== 0) {
      throw missing(field ?? "", "SELinux");
    }
  }
}

function hasAppArmor(kernel: Kernel): boolean {
  const path = "/sys/module/apparmor/parameters/enabled";
  if (kernel.attempt("faccessat", f.AT_FDCWD, path, f.F_OK) === -errno.ENOENT) return false;
  return kernelRead(kernel, path).trim() === "Y";
}

function missing(field: string, module: string): Failure {
  return new Failure(
    "failed_precondition",
    `cannot use ${field}: this kernel has no ${module}, or it is switched off: leave it out`,
    { details: { field } },
  );
}

/** The label for what is executed, as the kernel takes it. */
function labelOf({ apparmorProfile = "", selinuxLabel = "" }: SpecProcess): string | undefined {
  if (apparmorProfile !== "" && apparmorProfile !== unconfined) return `exec ${apparmorProfile}`;
  return selinuxLabel === "" ? undefined : selinuxLabel;
}

/**
 * Opens the file that takes the label, in a /proc that nobody else sees: what is at the container's own could be something
 * else. `setLabel` writes it when all else is done, since a filter may forbid this.
 */
export function* openLabel(process: SpecProcess): Generator<Operation> {
  if (labelOf(process) === undefined) return;
  const why = "open the file of the security label";
  const proc = { ref: "label-proc" };
  const file = (process.apparmorProfile ?? "") === "" ? "self/attr/exec" : "self/attr/apparmor/exec";
  yield { syscall: "fsopen", args: ["proc", f.FSOPEN_CLOEXEC], store: "label-fs", why };
  yield { syscall: "fsconfig", args: [{ ref: "label-fs" }, f.FSCONFIG_CMD_CREATE, 0, 0, 0], why };
  yield { syscall: "fsmount", args: [{ ref: "label-fs" }, f.FSMOUNT_CLOEXEC, 0], store: proc.ref, why };
  yield { syscall: "openat", args: [proc, file, f.O_WRONLY | f.O_CLOEXEC, 0], store: "label", why };
  for (const name of [proc.ref, "label-fs"]) yield { syscall: "close", args: [{ ref: name }], why };
}

/** Labels what is executed next. */
export function* setLabel(process: SpecProcess): Generator<Operation> {
  const label = labelOf(process);
  if (label === undefined) return;
  const bytes = new TextEncoder().encode(label);
  yield {
    syscall: "write",
    args: [{ ref: "label" }, bytes, bytes.length],
    why: `set the security label ${quote(label)}`,
  };
}
