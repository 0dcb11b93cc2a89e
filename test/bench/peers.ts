import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { specOf } from "./bare.ts";
import { quantile } from "./figures.ts";

/** The reference implementations that this machine has. */
export const peers = ["crun", "runc"].filter((name) => spawnSync(name, ["--version"]).status === 0);

/** A program of a few hundred bytes that ends at once: what is left is the kernel's and the runtime's. */
export function makeTiny(path: string): boolean {
  const source = 'void _start(void){__asm__ volatile("mov $60,%eax; xor %edi,%edi; syscall");}';
  const linker = "-Wl,--build-id=none,-z,noseparate-code";
  const flags = ["-static", "-nostdlib", "-Os", "-s", linker, "-x", "c", "-", "-o", path];
  return spawnSync("cc", flags, { input: source }).status === 0;
}

export interface PeerOptions {
  /** `crun` or `runc`. */
  readonly name: string;
  /** A folder of the benchmark's own, for state and bundles. */
  readonly folder: string;
  /** The lower layer. */
  readonly root: string;
  /** The cgroup that its containers' are beside. */
  readonly cgroupParent: string;
  readonly args: readonly string[];
}

let bundles = 0;

/**
 * A reference implementation's command line with the same configuration, on an overlay that is mounted already. Its times
 * come from a shell's loop, in a mount namespace without the hybrid hierarchy, which crun 1.8 refuses.
 */
export class Peer implements Disposable {
  readonly name: string;
  /** What it takes to start its process and do nothing, in milliseconds. */
  readonly starts: number[] = [];
  readonly #folder: string;
  readonly #bundle: string;

  constructor({ name, folder, root, cgroupParent, args }: PeerOptions) {
    this.name = name;
    this.#folder = folder;
    this.#bundle = join(folder, `bundle-${name}-${bundles++}`);
    for (const each of ["upper", "work", "rootfs"]) mkdirSync(join(this.#bundle, each), { recursive: true });
    const options = `lowerdir=${root},upperdir=${this.#bundle}/upper,workdir=${this.#bundle}/work`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, join(this.#bundle, "rootfs")]);
    const spec = specOf(args);
    // Without a path each container has a cgroup of its id.
    const linux = { ...spec.linux, cgroupsPath: `${cgroupParent}-${name}/x` };
    writeFileSync(join(this.#bundle, "config.json"), JSON.stringify({ ...spec, root: { path: "rootfs" }, linux }));
  }

  /**
   * Runs a script of bash, in which `$rt` is the command with its state folder and `$bundle` the bundle.
   * @returns what it prints, a line each.
   */
  script(text: string): string[] {
    const head = `umount /sys/fs/cgroup/unified 2>/dev/null
      rt="${this.name} --root ${this.#folder}/state"; bundle=${this.#bundle}`;
    const result = spawnSync("unshare", ["-m", "bash", "-c", `${head}\n${text}`], { encoding: "utf8" });
    if (result.status !== 0) throw new Error(`cannot measure ${this.name}: ${result.stderr}`);
    return result.stdout.trim().split("\n");
  }

  /**
   * Times a command some times; `$i` is the number of the turn.
   * @param around commands that are not timed: `before` and `after` each turn, `first` and `last` around all of them.
   * @param around.starts how often its process is started in each: as many starts are timed right before each turn, and
   * taken off that turn. What slows the one down slows the other down too.
   * @returns milliseconds.
   */
  time(
    command: string,
    times: number,
    around: {
      readonly first?: string;
      readonly before?: string;
      readonly after?: string;
      readonly last?: string;
      readonly starts?: number;
    } = {},
  ): number[] {
    const { first = ":", before = ":", after = ":", last = ":", starts = 0 } = around;
    const lines = this.script(`${first}
    for i in $(seq ${times}); do
      ${before}
      s=$EPOCHREALTIME; for ((j = 0; j < ${starts}; j++)); do $rt --version </dev/null >/dev/null 2>&1; done
      a=$EPOCHREALTIME; ${command} </dev/null >/dev/null 2>&1 || exit 1; b=$EPOCHREALTIME
      ${after}
      echo $s $a $b
    done
    ${last}`);
    return lines.map((line) => {
      const [begun = 0, from = 0, to = 0] = line.split(" ").map(Number);
      return ((to - from) - (starts === 0 ? 0 : from - begun)) * 1000;
    });
  }

  /** Measures the start of its own process, for the next `median`. */
  measureStart(times: number): void {
    this.starts.push(...this.time("$rt --version", times));
  }

  /** The median of measured times. @param commands how often its process was started in each; that is taken off. */
  median(times: readonly number[], commands = 1): number {
    return quantile(times, 0.5) - commands * quantile(this.starts, 0.5);
  }

  [Symbol.dispose](): void {
    execFileSync("umount", [join(this.#bundle, "rootfs")]);
  }
}
