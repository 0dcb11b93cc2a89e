import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import type { Listener } from "../../src/core/host.ts";
import { currentHost } from "../../src/host/mod.ts";
import { until } from "../support/until.ts";

const size = 1 << 20;

/** What handlers do with a body that they refuse. */
const handlers: Readonly<Record<string, (body: ReadableStream<Uint8Array>) => Promise<void>>> = {
  "is never looked at": () => Promise.resolve(),
  "is asked for and not read": (body) => Promise.resolve(assert.ok(!body.locked)),
  "is given up before its first part": (body) => body.cancel(),
  "is given up in its middle": async (body) => {
    const reader = body.getReader();
    assert.ok((await reader.read()).value!.length > 0);
    await reader.cancel();
  },
  "is read to its end": async (body) => {
    let bytes = 0;
    for await (const part of body) bytes += part.length;
    assert.equal(bytes, size);
  },
};

describe("a request that can have no body", () => {
  for (const method of ["GET", "HEAD"]) {
    it(`has none: ${method}`, async () => {
      const host = await currentHost();
      const listener = await host.serve({ port: 0 }, (request) => {
        const whole = request.body === null && !request.bodyUsed && !request.signal.aborted;
        return Promise.resolve(new Response(null, { status: whole ? 204 : 500 }));
      });
      const answer = await fetch(`http://127.0.0.1:${listener.port}/`, { method });
      assert.equal(answer.status, 204);
      await answer.body?.cancel();
      await listener.close({ force: true });
    });
  }
});

describe("a connection whose request has a body", () => {
  let listener: Listener;
  before(async () => {
    const host = await currentHost();
    listener = await host.serve({ port: 0 }, async (request) => {
      const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
      if (name === "next") return new Response("next");
      if (name !== "is never looked at") await handlers[name]?.(request.body!);
      return new Response("refused", { status: 400, headers: { "content-length": "7" } });
    });
  });
  after(() => listener?.close({ force: true }));

  for (const name of Object.keys(handlers)) {
    it(`serves the next request when it ${name}`, async () => {
      const socket = connect(listener.port ?? 0, "127.0.0.1");
      let answers = "";
      let closed = false;
      socket.on("data", (data) => answers += String(data));
      socket.on("error", () => closed = true);
      socket.on("close", () => closed = true);
      const head = (method: string, path: string, length: number) =>
        `${method} /${encodeURIComponent(path)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${length}\r\n\r\n`;
      socket.write(head("PUT", name, size));
      socket.write(new Uint8Array(size));
      socket.write(head("POST", "next", 0));
      await until(() => answers.includes("next") || closed);
      assert.match(
        answers,
        /^HTTP\/1\.1 400 [\s\S]*HTTP\/1\.1 200 [\s\S]*next/,
        closed ? "the connection was cut" : "",
      );
      socket.destroy();
    });
  }
});
