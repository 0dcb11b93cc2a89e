import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { serveConnection } from "../../src/functions/http/server_connection.ts";
import { currentHost } from "../../src/host/mod.ts";
import { type ContainerNetwork, ContainerNetworks } from "../../src/network/container_network.ts";
import type { ContainerListener } from "../../src/network/listeners.ts";
import { until } from "../support/until.ts";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("a socket that listens in another network namespace", () => {
  let networks: ContainerNetworks;
  let network: ContainerNetwork;
  let listener: ContainerListener;
  let port: number;
  let exhausted = 0;
  const ending = new AbortController();
  const connections = new Set<Promise<void>>();
  let left = 0;

  /** Says what it was asked. `/hang` answers when its client has gone. */
  const answer = async (request: Request, trailers: () => Headers): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (pathname === "/hang") {
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
      left++;
    }
    if (pathname === "/early") return new Response("early", { status: 413 });
    const { length } = new Uint8Array(await request.arrayBuffer());
    const said = trailers().get("x-a") ?? request.headers.get("x-a");
    return new Response(`${request.method} ${pathname} ${length} ${said}`, {
      headers: { "content-type": "text/plain" },
    });
  };

  before(async () => {
    networks = new ContainerNetworks(await currentHost());
    // Its own is as good as another.
    network = networks.open(process.pid);
    port = await freePort();
    listener = network.listen({
      port,
      maxConnections: 40,
      onExhausted: () => exhausted++,
      onConnection(connected) {
        const served = serveConnection(connected, answer, ending.signal).finally(() => connections.delete(served));
        connections.add(served);
      },
    });
  });
  after(async () => {
    ending.abort();
    await Promise.all(connections);
    listener[Symbol.dispose]();
    network[Symbol.dispose]();
    networks[Symbol.dispose]();
  });

  /** Sends text as it is. @returns all that came back, when the other side has closed. */
  const raw = async (text: string): Promise<string> => {
    const socket = connect(port, "127.0.0.1");
    socket.write(text);
    let all = "";
    for await (const part of socket) all += part;
    return all;
  };
  const curl = async (...args: readonly string[]): Promise<string> => {
    const child = spawn("curl", ["-sS", "-m", "20", ...args]);
    let all = "";
    child.stdout.on("data", (part) => all += part);
    await new Promise((resolve) => child.on("close", resolve));
    return all;
  };

  it("is told of each connection, and answers one request after the other", async () => {
    const url = `http://127.0.0.1:${port}`;
    const one = await curl(`${url}/a`, "--next", "-sS", "-d", "x".repeat(3000), "-H", "x-a: b", `${url}/b`);
    assert.equal(one, "GET /a 0 nullPOST /b 3000 b");
    const many = await Promise.all(Array.from({ length: 8 }, (_, i) => curl(`${url}/${i}`)));
    assert.deepEqual(many, Array.from({ length: 8 }, (_, i) => `GET /${i} 0 null`));
    listener.renew();
  });

  it("takes bodies in chunks, with 100-continue, and those that nobody reads", async () => {
    const url = `http://127.0.0.1:${port}`;
    const chunked = ["-X", "POST", "-H", "transfer-encoding: chunked", "-d", "hello"];
    assert.equal(await curl(`${url}/c`, ...chunked), "POST /c 5 null");
    const body = ["--data-binary", "@/bin/busybox", "-H", "expect: 100-continue"];
    assert.match(await curl(`${url}/d`, ...body), /^POST \/d \d{6,} null$/);
    assert.equal(await curl(`${url}/early`, ...body, "-w", "%{http_code}"), "early413");
    listener.renew();
  });

  it("refuses what is no request, and ends the connection", async () => {
    for (
      const text of [
        "nonsense\r\n\r\n",
        "GET / HTTP/2\r\n\r\n",
        "GET http://elsewhere/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\na b: c\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "CONNECT / HTTP/1.1\r\n\r\n",
        `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(300)}\r\n`,
        `GET / HTTP/1.1\r\na: ${"b".repeat(70_000)}\r\n\r\n`,
      ]
    ) assert.match(await raw(text), /^HTTP\/1.1 400 Error\r\n[^]*connection: close\r\n/, text.slice(0, 80));
    assert.equal(await raw("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "");
    const trailing =
      "POST /t HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-a: c\r\n\r\n";
    assert.match(await raw(trailing), /POST \/t 2 c$/);
    assert.match(await raw("GET /x HTTP/1.0\r\n\r\n"), /connection: close\r\n\r\nGET \/x 0 null$/);
    listener.renew();
  });

  it("tells who answers that the client has gone", async () => {
    const socket: Socket = connect(port, "127.0.0.1");
    socket.write("GET /hang HTTP/1.1\r\n\r\n");
    await until(() => connections.size > 0);
    socket.end();
    await until(() => left === 1);
    socket.destroy();
    listener.renew();
  });

  it("closes where there are more connections than may be", async () => {
    for (let i = 0; i < 100 && exhausted === 0; i++) {
      const socket = connect(port, "127.0.0.1");
      const over = await new Promise((resolve) =>
        socket.on("connect", () => resolve(false)).on("error", () => resolve(true))
      );
      socket.destroy();
      if (over) break;
    }
    await until(() => exhausted === 1);
    const refused = connect(port, "127.0.0.1");
    const code = await new Promise((resolve) =>
      refused.on("error", (error: NodeJS.ErrnoException) => resolve(error.code))
    );
    assert.equal(code, "ECONNREFUSED");
  });
});
