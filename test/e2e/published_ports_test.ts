import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { cgroupParent, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { bridgeName, ownSubnet } from "../support/own_bridge.ts";
import { until } from "../support/until.ts";

interface Port {
  readonly address: string;
  readonly hostPort: number;
  readonly containerPort: number;
}

const serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];
const echo = ["sh", "-c", "while nc -l -p 7 -e cat; do :; done"];

describe("published ports", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-ports-"));
  const plugins = JSON.stringify({
    "runtime/native": { cgroupParent: cgroupParent(folder) },
    "network/bridge": { name: bridgeName, subnet: ownSubnet().subnet },
  });
  let daemon: MayflyProcess;
  const run = (command: string, ...args: readonly string[]) => mayfly([command, ...stateFlags(folder), ...args]);
  const out = async (command: string, ...args: readonly string[]) => {
    const { code, stdout, stderr } = await run(command, ...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const portsOf = async (id: string) => {
    const answer = await daemon.admin("GET", `/v1/containers/${id}`);
    return (await answer.json() as { readonly ports: readonly Port[] }).ports;
  };
  const get = (port: number, path = "/group") =>
    fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: "close" }, signal: AbortSignal.timeout(5000) })
      .then((answer) => answer.text(), () => "");
  const names = async () => {
    const { items } = await (await daemon.admin("GET", "/v1/containers?all=true")).json() as { items: unknown[] };
    return items.length;
  };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--plugins", plugins]);
    await out("import", makeBusyboxImage(folder, "box:1"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [network, runtime] of [["none", "native"], ["bridge", "native"], ["none", "crun"]] as const) {
    const skip = runtime === "crun" && !existsSync("/usr/bin/crun") ? "crun is not installed" : false;
    it(`lead into a container of network ${network}, by ${runtime}`, { skip }, async () => {
      const flags = ["--network", network, "--runtime", runtime, "-p", "80", "-p", "127.0.0.1:0:7/tcp"];
      const id = await out("run", "-d", ...flags, "box:1", "sh", "-c", `${serve.join(" ")} & exec nc -l -p 7`);
      const [http, other] = await portsOf(id);
      assert.deepEqual([http?.containerPort, other?.containerPort], [80, 7]);
      const { hostPort = 0 } = http ?? {};
      await until(async () => (await get(hostPort)).startsWith("root:"));
      assert.match(await out("ps"), new RegExp(`127\\.0\\.0\\.1:${hostPort}->80/tcp`));
      // Many at once, and what is larger than any buffer on the way.
      const all = await Promise.all(Array.from({ length: 20 }, () => get(hostPort)));
      assert.ok(all.every((text) => text.startsWith("root:")));
      await out("stop", "-t", "0", id);
      assert.equal(await get(hostPort), "");
      assert.deepEqual(await portsOf(id), []);
      await out("rm", id);
    });
  }

  it("carry every byte both ways, and the end of each", async () => {
    const id = await out("run", "-d", "-p", "7", "box:1", ...echo);
    const [{ hostPort } = { hostPort: 0 }] = await portsOf(id);
    const sent = new Uint8Array(4 * 1024 * 1024).map((_, index) => index * 7 % 251);
    let back = Buffer.alloc(0);
    // Between two connections nobody listens for a moment.
    await until(async () => (back = await exchange(hostPort, sent)).length > 0);
    assert.equal(back.length, sent.length);
    assert.deepEqual(Buffer.compare(back, sent), 0);
    await out("rm", "-f", id);
  });

  it("a port in use is told before anything is made", async () => {
    const taken = createServer();
    await new Promise<void>((listening) => taken.listen(0, "127.0.0.1", listening));
    const { port } = taken.address() as { readonly port: number };
    const before = await names();
    const { code, stderr } = await run("run", "-d", "-p", `${port}:80`, "box:1", ...serve);
    taken.close();
    assert.notEqual(code, 0);
    assert.match(stderr, new RegExp(`cannot listen on "127\\.0\\.0\\.1:${port}"`));
    assert.equal(await names(), before);
  });

  it("refuse what cannot be published", async () => {
    for (
      const [flags, told] of [
        [["-p", "53:53/udp"], /only TCP can be published/],
        [["-p", "1-2:1-2"], /wanted \[address:\]\[port:\]port/],
        [["-p", "70000:80"], /"ports.0.hostPort" is 70000/],
        [["-p", "0"], /"ports.0.containerPort" is 0/],
        [["-p", "198.51.100.77:8080:80"], /cannot listen on "198\.51\.100\.77:8080"/],
        [["-p", "80", "--network", "host"], /cannot publish ports of a container on the machine's network/],
        [["-p", "80", "--scratch", "1m"], /leave out -d, -t, -p/],
      ] as const
    ) {
      const { code, stderr } = await run("run", ...flags, "box:1", "true");
      assert.notEqual(code, 0);
      assert.match(stderr, told);
    }
  });
});

/** Sends bytes, and their end. @returns what came back until the other's. */
async function exchange(port: number, bytes: Uint8Array): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  const socket: Socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => {});
  socket.end(bytes);
  await new Promise<void>((closed) => socket.once("close", () => closed()));
  return Buffer.concat(chunks);
}
