import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { HttpConnection } from "../../src/functions/http/connection.ts";
import { currentHost } from "../../src/host/mod.ts";
import { type ContainerNetwork, ContainerNetworks } from "../../src/network/container_network.ts";

describe("a server in another network namespace", () => {
  let networks: ContainerNetworks;
  let network: ContainerNetwork;
  let server: Server;
  let port: number;

  before(async () => {
    networks = new ContainerNetworks(await currentHost());
    // Its own is as good as another.
    network = networks.open(process.pid);
    server = createServer((request, response) => {
      let bytes = 0;
      request.on("data", (part: Uint8Array) => bytes += part.length);
      request.on("end", () => {
        if (request.url !== "/long") return response.end(`${request.method} ${request.url} ${bytes}`);
        for (let i = 0; i < 40; i++) response.write(new Uint8Array(100_000));
        response.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
    network[Symbol.dispose]();
    networks[Symbol.dispose]();
  });

  const open = async () => {
    const closed = Promise.withResolvers<void>();
    const connection = new HttpConnection(await network.connect(port), closed.resolve);
    const ask = async (target: string, body?: Uint8Array) => {
      const answer = await connection.exchange({
        method: body === undefined ? "GET" : "POST",
        target,
        headers: new Headers({ host: "test", ...(body !== undefined && { "transfer-encoding": "chunked" }) }),
        length: undefined,
        carry: body && ((sink) => {
          const writer = sink.getWriter();
          void writer.write(body).then(() => writer.close());
        }),
      }, () => {});
      return await new Response(answer.body).bytes();
    };
    return { connection, closed: closed.promise, ask };
  };
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

  it("answers one request after the other over one connection", async () => {
    const { connection, ask } = await open();
    assert.equal(text(await ask("/a?b")), "GET /a?b 0");
    assert.equal(text(await ask("/b", new Uint8Array(3_000_000))), "POST /b 3000000");
    assert.equal((await ask("/long")).length, 4_000_000);
    assert.equal(connection.reusable, true);
    connection.close();
  });

  it("is noticed when it leaves", async () => {
    const { connection, ask } = await open();
    await ask("/a");
    const idle = connection.idle();
    server.closeAllConnections();
    await idle;
    await assert.rejects(ask("/b"));
    connection.close();
  });

  it("is unavailable where nobody listens", async () => {
    await assert.rejects(network.connect(1), (error) => codeOf(error) === "unavailable");
  });
});
