import { join } from "node:path";
import process from "node:process";
import { readConfig } from "../../src/config.ts";
import type { Host } from "../../src/core/host.ts";
import { openDaemon } from "../../src/daemon.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";

/** The cgroup below which benchmarks of this process make theirs. */
export const cgroupParent = `/mayfly-bench-${process.pid}`;

/** A daemon in this process that has a busybox image, `bench:1`. */
export class BenchDaemon implements AsyncDisposable {
  readonly url: string;
  readonly #daemon: Awaited<ReturnType<typeof openDaemon>>;

  private constructor(url: string, daemon: Awaited<ReturnType<typeof openDaemon>>) {
    this.url = url;
    this.#daemon = daemon;
  }

  static async open(host: Host, folder: string): Promise<BenchDaemon> {
    const layout = makeBusyboxImage(folder, "bench:1");
    const daemon = await openDaemon(
      host,
      readConfig({
        flags: {
          root: join(folder, "root"),
          run: join(folder, "run"),
          listen: "127.0.0.1:0",
          "log-level": "warn",
          plugins: JSON.stringify({ "runtime/native": { cgroupParent } }),
        },
      }),
    );
    const url = (await daemon.listen()).find((address) => address.startsWith("http://")) ?? "";
    const opened = new BenchDaemon(url, daemon);
    await opened.admin("POST", "/v1/images/import", { path: layout });
    return opened;
  }

  /** Asks the admin API. @returns its answer. */
  async admin(method: string, path: string, body?: unknown): Promise<unknown> {
    const json = body === undefined ? null : JSON.stringify(body);
    const request = { method, headers: { "content-type": "application/json" }, body: json };
    const answer = await this.#daemon.fetch(new Request(`http://mayfly${path}`, request));
    if (!answer.ok) throw new Error(await answer.text());
    return await answer.json();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}
