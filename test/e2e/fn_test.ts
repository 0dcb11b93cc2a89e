import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

const source = fileURLToPath(new URL("../support/fn_function.mjs", import.meta.url));

describe("functions of Fn's", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-fn-"));
  let daemon: MayflyProcess;
  const { out } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) => {
    // The runtime that this is tested on, with the machine's libraries.
    const folders = [
      [dirname(process.execPath), "/host"],
      [join(folder, "app"), "/app"],
      ["/usr", "/usr"],
      ["/lib", "/lib"],
      ["/lib64", "/lib64"],
    ];
    const mounts = folders.flatMap(([from, to]) => ["-v", `${from}:${to}:ro`]);
    const own = ["--protocol", "fn", "--stop-grace", "0s", "-m", "1g", "-e", "HOME=/tmp", "-e", "DENO_DIR=/tmp/deno"];
    return out("deploy", name, "--image", "box:1", ...own, ...mounts, ...flags, "--", "sh", "-c", script);
  };
  const program = `/host/${process.execPath.slice(dirname(process.execPath).length + 1)}`;
  const words = "deno" in process.versions ? "run -A --no-config --no-lock" : "";
  const script = `exec ${program} ${words} /app/function.mjs`;

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "error"]);
    await out("import", makeBusyboxImage(folder, "box:1"));
    mkdirSync(join(folder, "app"));
    copyFileSync(source, join(folder, "app/function.mjs"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are called over their socket, one call at a time", async () => {
    await deploy("app", script, "--max-instances", "1");
    const call = (init: RequestInit = {}) => fetch(`${daemon.url}/fn/app/a?b=c`, { method: "PUT", ...init });
    const answer = await call({ body: "hello", headers: { "x-name": "Ada", "content-type": "text/plain" } });
    assert.equal(answer.status, 202, await answer.clone().text());
    assert.equal(answer.headers.get("x-own"), "yes");
    assert.equal(answer.headers.get("content-type"), "application/json");
    assert.equal(answer.headers.get("fn-fdk-version"), null);
    const { method, url, body, headers, format } = await answer.json() as Record<string, unknown> & {
      headers: Record<string, string>;
    };
    assert.deepEqual([method, url, body, format], ["POST", "/call", "hello", "http-stream"]);
    assert.equal(headers["fn-http-method"], "PUT");
    assert.equal(headers["fn-http-request-url"], "/a?b=c");
    assert.equal(headers["fn-http-h-x-name"], "Ada");
    assert.equal(headers["content-type"], "text/plain");
    assert.equal(headers["fn-intent"], "httprequest");
    assert.equal(headers["fn-call-id"], answer.headers.get("x-mayfly-invocation"));
    assert.ok(Date.parse(headers["fn-deadline"] ?? "") > Date.now());
    const many = await Promise.all(Array.from({ length: 5 }, async () => (await call()).json()));
    assert.ok(many.every((one) => (one as { running: number }).running === 1));
    assert.equal((await call({ body: "fail" })).status, 502);
    assert.equal((await call({ body: "odd" })).status, 502);
  });

  it("are not found outside of their container", async () => {
    // A socket of the machine's, where a link in the container seems to lead.
    const machine = createServer((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    const path = join(folder, "outside.sock");
    await new Promise<void>((resolve) => machine.listen(path, resolve));
    await deploy("out", `ln -s ${path} /tmp/iofs/lsnr.sock; exec sleep 1000`, "--start-timeout", "500ms");
    const answer = await fetch(`${daemon.url}/fn/out`);
    assert.equal(answer.status, 504);
    assert.match(await answer.text(), /nothing listened on the Unix socket/);
    machine.close();
  });
});
