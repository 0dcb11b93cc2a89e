import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { readConfig } from "../src/config.ts";
import { messageOf } from "../src/core/errors.ts";
import type { Host } from "../src/core/host.ts";
import { openDaemon } from "../src/daemon.ts";
import { esbuild } from "./minify/image.ts";

type Daemon = Awaited<ReturnType<typeof openDaemon>>;

/** A daemon in this process, for an example: on a free port, with folders that go with it. */
export class Stage implements AsyncDisposable {
  readonly folder: string;
  readonly daemon: Daemon;
  /** Where functions are reached, `http://127.0.0.1:…`. */
  readonly url: string;

  private constructor(folder: string, daemon: Daemon, url: string) {
    this.folder = folder;
    this.daemon = daemon;
    this.url = url;
  }

  static async open(host: Host): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-example-"));
    try {
      const flags = {
        root: join(folder, "root"),
        run: join(folder, "run"),
        listen: "127.0.0.1:0",
        "log-level": "warn",
      };
      const daemon = await openDaemon(host, readConfig({ flags }));
      const url = (await daemon.listen()).find((address) => address.startsWith("http://"));
      if (url === undefined) throw new Error("the daemon does not listen");
      return new Stage(folder, daemon, url);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Sends the admin API a request, as a client of its Unix socket would. */
  async admin<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    const answer = await this.daemon.fetch(
      new Request(`http://mayfly${path}`, {
        method,
        headers: { "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    );
    const result = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${JSON.stringify(result)}`);
    return result as Answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.daemon[Symbol.asyncDispose]();
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** Runs an example's main function; where it fails, says why in a line. */
export async function perform(main: () => Promise<void>): Promise<void> {
  try {
    if (!existsSync(esbuild())) throw new Error("esbuild is not here: run npm install first");
    await main();
  } catch (error) {
    console.error(`\n  the example failed: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
