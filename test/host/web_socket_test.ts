import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Listener, ListenOptions } from "../../src/core/host.ts";
import { maxMessageBytes, type WebSocketConnection, webSocketPair } from "../../src/core/web_socket.ts";
import { currentHost } from "../../src/host/mod.ts";
import { until } from "../support/until.ts";

const host = await currentHost();
const folder = mkdtempSync(join(tmpdir(), "host-web-socket-"));
after(() => rmSync(folder, { recursive: true }));

const messageBytes = 64 * 1024;
/** Far more messages than the kernel's buffers take. */
const plenty = 1024;

/** What the server's side saw last. */
let server: { readonly connection: WebSocketConnection; sent: number; received: number; failure?: unknown };

type Route = (connection: WebSocketConnection) => Promise<void>;

const routes: Readonly<Record<string, Route>> = {
  async "/echo"({ readable, writable }) {
    await readable.pipeTo(writable);
  },
  /** Sends as fast as it may. */
  async "/flood"({ writable }) {
    const writer = writable.getWriter();
    try {
      for (; server.sent < plenty; server.sent++) await writer.write(new Uint8Array(messageBytes).fill(server.sent));
      await writer.close();
    } catch (error) {
      server.failure = error;
    }
  },
  /** Reads nothing until it is told to. */
  async "/slow"({ readable }) {
    await reading.promise;
    for await (const message of readable) server.received += message.byteLength;
  },
  "/hold": () => new Promise(() => {}),
  "/leave": (connection) => {
    connection.close({ code: 4001, reason: "as it was told" });
    return Promise.resolve();
  },
  "/last": async ({ writable }) => {
    const writer = writable.getWriter();
    void writer.write(new Uint8Array(messageBytes * 8).fill(7));
    await writer.close();
  },
  "/fail": () => Promise.reject(new Error("secret detail")),
};

let reading = Promise.withResolvers<void>();

async function bytesOf(readable: ReadableStream<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const message of readable) bytes += message.byteLength;
  return bytes;
}

/** What a descriptor of this process leads to; nothing where it is gone by now. */
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}

/** Lets the event loop and the kernel work until a number has not grown for ten looks. */
async function settled(read: () => number): Promise<number> {
  let [before, same] = [-1, 0];
  await until(() => {
    const now = read();
    same = now === before ? same + 1 : 0;
    before = now;
    return same === 10;
  });
  return before;
}

const kinds: readonly [string, () => ListenOptions][] = [
  ["TCP", () => ({ hostname: "127.0.0.1", port: 0 })],
  ["a Unix socket", () => ({ path: join(folder, `${Math.random().toString(36).slice(2)}.sock`) })],
];

for (const [name, address] of kinds) {
  describe(`WebSockets on ${name}`, () => {
    const options = address();
    let listener: Listener;

    before(async () => {
      listener = await host.serve(options, (request, { upgrade }) => {
        const { pathname } = new URL(request.url);
        const route = routes[pathname];
        if (pathname === "/refused") return new Response("not you", { status: 403 });
        if (route === undefined || upgrade === undefined) {
          return new Response(`plain ${request.headers.get("upgrade")}`);
        }
        return upgrade((connection) => {
          server = { connection, sent: 0, received: 0 };
          return route(connection);
        });
      });
    });
    after(() => listener.close({ force: true }));

    const target = (path: string) => ({
      url: `ws://${options.path === undefined ? `127.0.0.1:${listener.port}` : "mayfly"}${path}`,
      ...(options.path === undefined ? {} : { path: options.path }),
    });
    const open = async (path: string): Promise<WebSocketConnection> => {
      const connection = await host.connectWebSocket(target(path));
      assert.ok(!(connection instanceof Response));
      return connection;
    };
    /** A client that says what a test wants. */
    const bare = async (head: string): Promise<Socket> => {
      const socket = options.path === undefined ? connect(listener.port ?? 0, "127.0.0.1") : connect(options.path);
      socket.on("error", () => {});
      socket.write(head);
      await new Promise((resolve) => socket.once("readable", resolve));
      return socket;
    };
    const handshake = (path: string, more = "") =>
      `GET ${path} HTTP/1.1\r\nHost: mayfly\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n${more}\r\n`;

    it("carries messages of every size both ways, as they are", async () => {
      const { readable, writable, closed } = await open("/echo");
      const writer = writable.getWriter();
      const reader = readable.getReader();
      for (const size of [1, 125, 126, 65535, 65536, maxMessageBytes]) {
        const sent = new Uint8Array(size).map((_, i) => i * 7);
        await writer.write(sent);
        const { value } = await reader.read();
        assert.equal(Buffer.compare(value ?? new Uint8Array(), sent), 0, `${size} bytes`);
      }
      await writer.close();
      assert.equal((await reader.read()).done, true);
      assert.equal((await closed).code, 1000);
    });

    it("tells the code and the reason of a goodbye, to both sides", async () => {
      const left = await open("/leave");
      assert.deepEqual(await left.closed, { code: 4001, reason: "as it was told" });
      const connection = await open("/hold");
      connection.close({ code: 4002, reason: "enough" });
      assert.deepEqual(await server.connection.closed, { code: 4002, reason: "enough" });
      assert.equal((await connection.closed).code, 4002);
    });

    it("loses nothing that was sent before the goodbye", async () => {
      for (let i = 0; i < 20; i++) assert.equal(await bytesOf((await open("/last")).readable), messageBytes * 8);
    });

    it("sends no faster than a slow client reads, and then all of it", async () => {
      const { readable } = await open("/flood");
      const sent = await settled(() => server.sent);
      assert.ok(sent < plenty / 2, `${sent} messages were taken from a server nobody reads`);
      assert.equal(await bytesOf(readable), plenty * messageBytes);
    });

    it("takes no more of a fast client than is read, and then all of it", async () => {
      reading = Promise.withResolvers();
      const { writable } = await open("/slow");
      const writer = writable.getWriter();
      let written = 0;
      const writing = (async () => {
        for (; written < plenty; written++) await writer.write(new Uint8Array(messageBytes));
        await writer.close();
      })();
      const before = await settled(() => written);
      assert.ok(before < plenty / 2, `${before} messages were taken by a server that reads none`);
      reading.resolve();
      await writing;
      await until(() => server.received === plenty * messageBytes);
    });

    it("notices a client that is gone, while it waits and while it sends", async () => {
      (await bare(handshake("/hold"))).destroy();
      assert.equal((await server.connection.closed).code, 1006);
      (await bare(handshake("/flood"))).destroy();
      await server.connection.closed;
      await until(() => server.failure !== undefined);
      assert.ok(server.sent < plenty);
    });

    it("aborting cuts a connection that a peer keeps waiting", async () => {
      const client = await open("/hold");
      const writer = client.writable.getWriter();
      let written = 0;
      const stalled = (async () => {
        for (; written < plenty; written++) await writer.write(new Uint8Array(messageBytes));
      })().catch(() => {});
      assert.ok(await settled(() => written) < plenty);
      await writer.abort();
      await stalled;
      assert.equal((await client.closed).code, 1006);
    });

    it("a client sees a server that is cut off", async () => {
      const connection = await open("/hold");
      void server.connection.writable.abort();
      assert.equal((await connection.closed).code, 1006);
      await assert.rejects(connection.readable.getReader().read(), { code: "unavailable" });
      await assert.rejects(connection.writable.getWriter().write(new Uint8Array(1)), { code: "unavailable" });
    });

    it("a failing server says nothing of why", async () => {
      const connection = await open("/fail");
      const { reason } = await connection.closed;
      assert.equal(reason, "");
    });

    it("refuses text, messages that are too large, and frames that break the protocol", async () => {
      const masked = (first: number, length: number) => {
        const frame = Buffer.alloc(14);
        frame[0] = first;
        frame[1] = 0xff;
        frame.writeBigUInt64BE(BigInt(length), 2);
        return frame;
      };
      const cases: readonly [string, Buffer, number][] = [
        ["text", Buffer.from([0x81, 0x81, 0, 0, 0, 0, 97]), 1003],
        ["too large", masked(0x82, maxMessageBytes + 1), 1009],
        ["of a terabyte", masked(0x82, 2 ** 40), 1009],
        ["not masked", Buffer.from([0x82, 0x01, 97]), 1002],
        ["of a reserved kind", Buffer.from([0x83, 0x81, 0, 0, 0, 0, 97]), 1002],
      ];
      for (const [what, frame, code] of cases) {
        const socket = await bare(handshake("/hold"));
        socket.read();
        socket.end(frame);
        const answer = Buffer.concat(await socket.toArray());
        await server.connection.closed;
        // Cut off without a word is a refusal too.
        if (answer.length > 0) assert.deepEqual([answer[0], answer.readUInt16BE(2)], [0x88, code], what);
      }
      const { writable } = await open("/hold");
      await assert.rejects(writable.getWriter().write(new Uint8Array(maxMessageBytes + 1)), {
        code: "invalid_argument",
      });
    });

    it("an answer that refuses is the client's to read", async () => {
      const answer = await host.connectWebSocket(target("/refused"));
      assert.ok(answer instanceof Response);
      assert.deepEqual([answer.status, await answer.text()], [403, "not you"]);
    });

    it("the connection of a client that is refused is let go, though it goes on sending or just stays", async () => {
      const sockets = () => readdirSync("/proc/self/fd").filter((fd) => linkOf(fd).startsWith("socket:")).length;
      const before = sockets();
      const clients: Socket[] = [];
      for (let i = 0; i < 8; i++) {
        const socket = await bare(handshake("/refused"));
        clients.push(socket);
        // More than is read of it, from half of them.
        if (i % 2 === 0) { for (let n = 0; n < 8; n++) socket.write(new Uint8Array(messageBytes)); }
      }
      // The clients keep their own ends.
      await until(() => sockets() <= before + clients.length);
      for (const client of clients) client.destroy();
      await until(() => sockets() <= before);
    });

    it("requests for anything else are requests like any other", async () => {
      for (const upgrade of ["h2c", "WebSocket-next"]) {
        const socket = await bare(
          `GET /hold HTTP/1.1\r\nHost: mayfly\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`,
        );
        assert.match(String(socket.read()), new RegExp(`^HTTP/1.1 200 [^]*plain ${upgrade}`));
        socket.destroy();
      }
    });

    it("a broken handshake is a 400", async () => {
      const socket = await bare(
        "GET /hold HTTP/1.1\r\nHost: mayfly\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
      );
      assert.match(String(socket.read()), /^HTTP\/1\.1 400 /);
      socket.destroy();
    });

    it("close() says that the server goes away; close({ force }) cuts", async () => {
      for (const [force, code] of [[false, 1001], [true, 1006]] as const) {
        const own = address();
        const other = await host.serve(
          own,
          (_request, { upgrade }) => upgrade?.(() => new Promise(() => {})) ?? new Response("no"),
        );
        const connection = await host.connectWebSocket({
          url: `ws://${own.path === undefined ? `127.0.0.1:${other.port}` : "mayfly"}/`,
          ...(own.path === undefined ? {} : { path: own.path }),
        });
        assert.ok(!(connection instanceof Response));
        await other.close({ force });
        assert.equal((await connection.closed).code, code);
      }
    });
  });
}

describe("connectWebSocket()", () => {
  it("says when nobody listens", async () => {
    const path = join(folder, "none.sock");
    await assert.rejects(host.connectWebSocket({ url: "ws://mayfly/", path }), { code: "unavailable" });
  });

  it("is given up by its signal", async () => {
    const path = join(folder, "silent.sock");
    const silent = await host.serve({ path }, () => new Promise(() => {}));
    const stop = new AbortController();
    const opening = host.connectWebSocket({ url: "ws://mayfly/", path, signal: stop.signal });
    setTimeout(() => stop.abort(new Error("given up")), 20);
    await assert.rejects(opening, /given up/);
    await silent.close({ force: true });
  });
});

describe("webSocketPair()", () => {
  it("carries messages, slows the writer, and ends both ways with one goodbye", async () => {
    const [left, right] = webSocketPair();
    const writer = left.writable.getWriter();
    const sent = [1, 2, 3].map((byte) => writer.write(new Uint8Array([byte])));
    let taken = 0;
    sent.forEach((write) => write.then(() => taken++));
    await settled(() => taken);
    assert.ok(taken < 3);
    const reader = right.readable.getReader();
    for (const byte of [1, 2, 3]) assert.deepEqual((await reader.read()).value, new Uint8Array([byte]));
    right.close({ code: 4000, reason: "enough" });
    assert.equal((await reader.read()).done, true);
    assert.equal((await left.readable.getReader().read()).done, true);
    assert.deepEqual(await left.closed, { code: 4000, reason: "enough" });
    await assert.rejects(writer.write(new Uint8Array(1)));
  });
});
