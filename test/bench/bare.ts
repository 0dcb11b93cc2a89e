import process from "node:process";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import type { Spec } from "../../src/core/spec.ts";
import { generateSpec, type SpecTemplate, specTemplate, withRequest } from "../../src/tasks/spec.ts";

export type Steps = Record<"create" | "start" | "exit" | "delete", number[]>;

/** The full default configuration of a function. */
export function specOf(args: readonly string[]): Spec {
  const image = { os: "linux", architecture: "amd64", rootfs: { type: "layers" as const, diff_ids: [] } };
  const settings = { command: [...args], memoryBytes: 256 << 20, cpus: 1, pids: 512 };
  const spec = generateSpec({ image, id: "bench", settings });
  const { cgroupsPath: _, ...linux } = spec.linux;
  return { ...spec, linux };
}

let count = 0;

/** One fresh container after the other, with nothing around it: create → start → exit → delete. */
export class BareLifecycle {
  readonly #runtime: Runtime;
  readonly #template: SpecTemplate;
  readonly #rootfs: Rootfs;

  /** @param root the folder that is the lower layer. */
  constructor(runtime: Runtime, root: string, args: readonly string[]) {
    this.#runtime = runtime;
    this.#template = specTemplate(specOf(args));
    this.#rootfs = {
      mounts: [{ type: "bind", source: root, options: ["rbind", "ro"] }],
      scratch: { sizeBytes: 64 << 20 },
    };
  }

  /** @returns milliseconds. @param steps takes those of each step. */
  async once(steps?: Steps): Promise<number> {
    const id = `b${process.pid}-${count++}`;
    const began = performance.now();
    const request = withRequest(this.#template, { id, env: { REQUEST: id } });
    const spec = { ...request, linux: this.#template.spec.linux };
    const task = await this.#runtime.create({ id, spec, rootfs: this.#rootfs, lazy: true });
    const created = performance.now();
    await task.start();
    const started = performance.now();
    await task.wait();
    const exited = performance.now();
    await task.delete();
    const deleted = performance.now();
    steps?.create.push(created - began);
    steps?.start.push(started - created);
    steps?.exit.push(exited - started);
    steps?.delete.push(deleted - exited);
    return deleted - began;
  }

  async sequential(runs: number, steps?: Steps): Promise<number[]> {
    const times: number[] = [];
    for (let i = 0; i < runs; i++) times.push(await this.once(steps));
    return times;
  }

  /** How many end in a second when some are under way at all times. */
  async perSecond(concurrency: number, runs: number): Promise<number> {
    let left = runs;
    const began = performance.now();
    await Promise.all(Array.from({ length: concurrency }, async () => {
      while (left-- > 0) await this.once();
    }));
    return runs / ((performance.now() - began) / 1000);
  }
}
