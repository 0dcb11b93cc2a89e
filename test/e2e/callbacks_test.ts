import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

interface Told {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
interface Call {
  readonly id: string;
  readonly status: string;
  readonly callback?: {
    readonly url: string;
    readonly status: string;
    readonly attempts: number;
    readonly error?: string;
  };
}

describe("callbacks of asynchronous calls", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-callbacks-"));
  const told: Told[] = [];
  /** What the caller's server answers next, by path; 200 where nothing is left. */
  const answers = new Map<string, number[]>();
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const path = request.url ?? "";
    told.push({ path, headers: request.headers, body });
    response.writeHead(answers.get(path)?.shift() ?? 200, { location: "/elsewhere" }).end();
  });
  let daemon: MayflyProcess;
  let host: string;
  const start = async () => {
    daemon = await MayflyProcess.start(folder, [
      "--log-level",
      "warn",
      "--call-retry-ms",
      "20",
      "--callback-hosts",
      host,
    ]);
  };
  const out = async (...args: readonly [string, ...string[]]) => {
    const [command, ...rest] = args;
    const { code, stderr } = await mayfly([command, ...stateFlags(folder), ...rest], { input: "" });
    assert.equal(code, 0, stderr);
  };
  const post = (name: string, url: string) =>
    fetch(`${daemon.url}/async/fn/${name}`, { method: "POST", body: "hello", headers: { "x-callback-url": url } });
  const accept = async (name: string, path: string) => {
    const answer = await post(name, `http://${host}${path}`);
    assert.equal(answer.status, 202);
    return (await answer.json() as Call).id;
  };
  const get = async (id: string) => await (await fetch(`${daemon.url}/async/calls/${id}`)).json() as Call;
  const settled = (id: string) =>
    until(async () => {
      const { callback } = await get(id);
      assert.ok(callback !== undefined);
      return callback.status !== "pending" && callback;
    });
  const of = (path: string) => told.filter((each) => each.path === path);

  before(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
    await out("deploy", "upper", "--image", "box:1", "--", "sh", "-c", "tr a-z A-Z");
    await out("deploy", "broken", "--image", "box:1", "--", "sh", "-c", "exit 3");
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("tell the caller's server the answer", async () => {
    const id = await accept("upper", "/ok?a=b");
    const { status, attempts } = await settled(id);
    assert.deepEqual([status, attempts], ["delivered", 1]);
    const [{ headers, body }] = of("/ok?a=b") as [Told];
    assert.equal(body, "HELLO");
    assert.equal(headers["x-call-id"], id);
    assert.equal(headers["x-function-name"], "upper");
    assert.equal(headers["x-function-status"], "200");
    assert.ok(Number(headers["x-duration-seconds"]) > 0);
  });

  it("tell it of a failure, and again what it does not take", async () => {
    answers.set("/busy", [503, 429]);
    const id = await accept("broken", "/busy");
    const { status, attempts } = await settled(id);
    assert.deepEqual([status, attempts], ["delivered", 3]);
    const problems = of("/busy").map(({ headers, body }) => [headers["x-function-status"], JSON.parse(body).call]);
    assert.deepEqual(problems, [["500", id], ["500", id], ["500", id]]);
    assert.match(of("/busy")[0]?.body ?? "", /exit code 3/);
  });

  it("are over where it refuses, or sends the daemon elsewhere", async () => {
    answers.set("/gone", [410]);
    answers.set("/moved", [302]);
    for (const [path, why] of [["/gone", /answered 410$/], ["/moved", /302: redirects are not followed/]] as const) {
      const { status, attempts, error = "" } = await settled(await accept("upper", path));
      assert.deepEqual([status, attempts], ["failed", 1]);
      assert.match(error, why);
    }
    assert.equal(of("/elsewhere").length, 0);
  });

  it("outlive a crash of the daemon", async () => {
    answers.set("/later", Array(5).fill(500));
    const id = await accept("upper", "/later");
    await until(() => of("/later").length >= 2);
    await daemon.end("SIGKILL");
    answers.delete("/later");
    await start();
    assert.equal((await settled(id)).status, "delivered");
    assert.equal(of("/later").at(-1)?.body, "HELLO");
  });

  it("are refused before the call is accepted where the daemon may not send", async () => {
    const answer = await post("upper", "http://192.0.2.1/");
    assert.equal(answer.status, 403);
    assert.match(await answer.text(), /--callback-hosts/);
    assert.equal((await post("upper", "no-address")).status, 400);
  });
});
