import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { DaemonHandle } from "../../src/cli/command.ts";
import { readConfig } from "../../src/config.ts";
import { openDaemon } from "../../src/daemon.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxImage } from "./busybox_image.ts";
import { until } from "./until.ts";

/** A record of an invocation, as the API gives it. */
export interface RecordJson {
  readonly id: string;
  readonly function: string;
  readonly revision: number;
  readonly status: string;
  readonly exitCode?: number;
  readonly error?: string;
  readonly stderr?: string;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly traceId?: string;
  readonly durationMs?: number;
  readonly memoryPeakBytes?: number;
  readonly phases: readonly { readonly name: string; readonly startMs: number; readonly durationMs: number }[];
}

/** What curl saw. */
export interface CurlAnswer {
  /** curl's exit code: 0 for an answer that ended as it should, 18, 52 or 56 for one that was cut, 28 for its own timeout. */
  readonly code: number | null;
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** A daemon in this process, on a folder of its own, with a busybox image `box:1`. */
export class World implements AsyncDisposable {
  readonly folder: string;
  readonly cgroup: string;
  /** Where functions are served. */
  readonly url: string;
  /** Where its registry listens, as a reference names it; empty where it does not. */
  readonly registry: string;
  readonly #daemon: DaemonHandle;

  /** @param native settings of the native runtime. */
  static async open(
    flags: Readonly<Record<string, string>> = {},
    env: Readonly<Record<string, string>> = {},
    native: Readonly<Record<string, string>> = {},
  ): Promise<World> {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-world-"));
    const cgroup = `mayfly-test-${process.pid}`;
    const daemon = await openDaemon(
      await currentHost(),
      readConfig({
        env,
        flags: {
          root: join(folder, "root"),
          run: join(folder, "run"),
          listen: "127.0.0.1:0",
          "log-level": "warn",
          plugins: JSON.stringify({ "runtime/native": { cgroupParent: `/${cgroup}`, ...native } }),
          ...flags,
        },
      }),
    );
    const addresses = await daemon.listen();
    const url = addresses.find((address) => address.startsWith("http://")) ?? "";
    const registry = addresses.map((address) => /^http:\/\/(.*)\/v2\/$/.exec(address)?.[1]).find(Boolean) ?? "";
    const world = new World(folder, cgroup, url, registry, daemon);
    await world.admin("POST", "/v1/images/import", { path: makeBusyboxImage(folder, "box:1"), name: "box:1" });
    return world;
  }

  private constructor(folder: string, cgroup: string, url: string, registry: string, daemon: DaemonHandle) {
    this.folder = folder;
    this.cgroup = cgroup;
    this.url = url;
    this.registry = registry;
    this.#daemon = daemon;
  }

  /** Asks the admin API, with the socket's rights. */
  async ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Response> {
    const init = body === undefined
      ? { method, headers }
      : { method, headers, body: isBytes(body) ? body : JSON.stringify(body) };
    return await this.#daemon.fetch(new Request(`http://mayfly${path}`, init));
  }

  /** Asks the admin API for something that has to succeed. */
  async admin<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.ask(method, path, body);
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  /** Deploys a function that runs a shell script. */
  async script(name: string, text: string, settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
    await this.admin("PUT", `/v1/functions/${name}`, { image: "box:1", command: ["/bin/sh", "-c", text], ...settings });
  }

  /** The record that an answer names. */
  record(answer: { readonly headers: Headers }): Promise<RecordJson> {
    return this.admin("GET", `/v1/invocations/${answer.headers.get("x-mayfly-invocation")}`);
  }

  /** The newest record of a function, when it has ended. */
  async last(name: string): Promise<RecordJson> {
    return await until(async () => {
      const { items } = await this.admin<{ items: RecordJson[] }>("GET", `/v1/functions/${name}/logs?limit=1`);
      return items[0]?.status === "running" ? undefined : items[0];
    });
  }

  /** How many containers run. */
  async running(): Promise<number> {
    return (await this.admin<{ items: unknown[] }>("GET", "/v1/tasks")).items.length;
  }

  /** Sends a request with curl. @param args its options, before the path below the functions' address. */
  async curl(path: string, ...args: readonly string[]): Promise<CurlAnswer> {
    const child = spawn("curl", ["-sS", "-i", "-m", "20", "-H", "Expect:", ...args, this.url + path]);
    const chunks: Uint8Array[] = [];
    child.stdout.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    child.stderr.resume();
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    const text = chunks.map((chunk) => new TextDecoder("latin1").decode(chunk)).join("");
    const end = text.indexOf("\r\n\r\n");
    const [first = "", ...fields] = (end < 0 ? text : text.slice(0, end)).split("\r\n");
    const headers = new Headers();
    for (const field of fields) {
      headers.append(field.slice(0, field.indexOf(":")), field.slice(field.indexOf(":") + 1).trim());
    }
    return { code, status: Number(first.split(" ")[1] ?? 0), headers, body: end < 0 ? "" : text.slice(end + 4) };
  }

  /** Shuts the daemon down. */
  drain(): Promise<void> {
    return this.#daemon.drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function isBytes(body: unknown): body is string | Uint8Array<ArrayBuffer> {
  return typeof body === "string" || body instanceof Uint8Array;
}
