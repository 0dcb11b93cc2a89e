import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A server that forks a program for each request, without any isolation: the peer of those who accept that. */
export class ForkingServer implements Disposable {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  /** @returns undefined where this machine has no Go (Debian: golang-go). */
  static async start(folder: string, command: readonly string[]): Promise<ForkingServer | undefined> {
    if (spawnSync("go", ["version"]).status !== 0) return undefined;
    const program = join(folder, "forking");
    const source = fileURLToPath(new URL("./forking.go", import.meta.url));
    execFileSync("go", ["build", "-o", program, source], { stdio: "inherit" });
    const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...command], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const chunk of child.stdout) return new ForkingServer(`http://127.0.0.1:${String(chunk).trim()}`, child);
    throw new Error("the forking server did not start");
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}
