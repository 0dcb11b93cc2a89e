import type { Spec } from "../core/spec.ts";
import { kernelRead } from "../linux/kernel_read.ts";
import type { Kernel } from "../linux/kernel.ts";

const max = 1000;

/** A tenth of the machine's memory worse than this process: containers are killed before the daemon. */
const worse = 100;

/**
 * What containers get as `oom_score_adj`. Less than this process has would need CAP_SYS_RESOURCE.
 * @see https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html
 */
export function containerOomScoreAdj(kernel: Kernel): number {
  return Math.min(Number(kernelRead(kernel, "/proc/self/oom_score_adj")) + worse, max);
}

/** Returns the spec with a score, where it says none itself. */
export function withOomScoreAdj(spec: Spec, oomScoreAdj: number): Spec {
  if (typeof spec.process.oomScoreAdj === "number") return spec;
  return { ...spec, process: { ...spec.process, oomScoreAdj } };
}
