import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execPath } from "node:process";
import { after, describe, it } from "node:test";
import { connect } from "node:tls";
import { Failure } from "../../src/core/errors.ts";
import type { FetchHandler, Listener, ListenOptions } from "../../src/core/host.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeCertificate } from "../support/certificate.ts";

const host = await currentHost();

describe("serve() with a certificate", () => {
  const folder = mkdtempSync(join(tmpdir(), "host-tls-"));
  after(() => rmSync(folder, { recursive: true }));
  const one = makeCertificate(folder, "one");
  const two = makeCertificate(folder, "two");

  const curl = (listener: Listener, path: string, ...args: readonly string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve) => {
      const url = `https://127.0.0.1:${listener.port}${path}`;
      execFile("curl", ["-sS", "--max-time", "15", ...args, url], { maxBuffer: 1 << 28 }, (error, out) => {
        resolve({ code: error === null ? 0 : Number(error.code), out });
      });
    });
  const trusting = (name: string) => ["--cacert", join(folder, `${name}.pem`)];
  const serve = async (handler: FetchHandler, options: ListenOptions = {}) => {
    const listener = await host.serve({ port: 0, tls: one, ...options }, handler);
    return { listener, [Symbol.asyncDispose]: () => listener.close({ force: true }) };
  };
  /** What certificate is shown, by its subject. */
  const shown = async ({ port }: Listener): Promise<unknown> => {
    const socket = connect({ host: "127.0.0.1", port: port ?? 0, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { subject } = socket.getPeerCertificate();
    socket.destroy();
    return subject.CN;
  };

  it("speaks TLS and nothing else, and says so to the handler", async () => {
    await using served = await serve(async (request, connection) =>
      new Response(`${new URL(request.url).protocol} ${connection.peer()?.address} ${await request.text()}`)
    );
    const body = ["--data-binary", "hello"];
    assert.deepEqual(await curl(served.listener, "/", ...trusting("one"), ...body), {
      code: 0,
      out: "https: 127.0.0.1 hello",
    });
    assert.notEqual((await curl(served.listener, "/", ...trusting("two"))).code, 0);
    const plain = connectPlain(
      served.listener.port ?? 0,
      "127.0.0.1",
      () => plain.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    );
    const chunks: string[] = [];
    plain.on("data", (chunk) => chunks.push(String(chunk)));
    plain.on("error", () => {});
    await once(plain, "close");
    assert.doesNotMatch(chunks.join(""), /127\.0\.0\.1/);
    assert.notEqual((await curl(served.listener, "/", ...trusting("one"), "--tls-max", "1.1")).code, 0);
  });

  it("carries large bodies both ways", async () => {
    await using served = await serve((request) => new Response(request.body));
    const { out } = await curl(
      served.listener,
      "/",
      ...trusting("one"),
      "--data-binary",
      `@${execPath}`,
      "-o",
      "/dev/null",
      "-w",
      "%{size_upload} %{size_download}",
    );
    const [up, down] = out.split(" ").map(Number);
    assert.ok(up && up > 1_000_000 && up === down, out);
  });

  it("makes WebSockets", async () => {
    await using served = await serve((_request, { upgrade }) =>
      upgrade?.(async ({ readable, writable }) => {
        await readable.pipeTo(writable);
      }) ?? new Response("no")
    );
    const socket = connect({
      host: "127.0.0.1",
      port: served.listener.port ?? 0,
      ca: one.cert,
      servername: "localhost",
    });
    socket.write(
      "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    const [head] = await once(socket, "data");
    assert.match(String(head), /^HTTP\/1\.1 101 /);
    socket.destroy();
  });

  it("shows another certificate when it is told to, and lets go of no request", async () => {
    const waiting = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    await using served = await serve(async (request) => {
      if (request.url.endsWith("/wait")) {
        asked.resolve();
        await waiting.promise;
      }
      return new Response("answered");
    });
    const slow = curl(served.listener, "/wait", ...trusting("one"));
    await asked.promise;
    const { port } = served.listener;
    assert.equal(await shown(served.listener), "one");
    served.listener.renew(two);
    for (let i = 0; i < 5; i++) {
      // Bun's own server ends beside the new one.
      const name = await shown(served.listener);
      if (name === "two") break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await shown(served.listener), "two");
    assert.equal(served.listener.port, port);
    assert.deepEqual(await curl(served.listener, "/", ...trusting("two")), { code: 0, out: "answered" });
    waiting.resolve();
    assert.deepEqual(await slow, { code: 0, out: "answered" });
    served.listener.renew(one);
    assert.equal((await curl(served.listener, "/", ...trusting("one"))).code, 0);
  });

  it("cuts who does not ask for anything, and no answer that takes longer", { timeout: 60_000 }, async () => {
    await using served = await serve(() => {
      let left = 8;
      return new Response(
        new ReadableStream({
          async pull(controller) {
            await new Promise((resolve) => setTimeout(resolve, 300));
            if (left-- === 0) controller.close();
            else controller.enqueue(new TextEncoder().encode("x"));
          },
        }, { highWaterMark: 0 }),
      );
    }, { headTimeoutMs: 1000 });
    const silent = connectPlain(served.listener.port ?? 0, "127.0.0.1");
    silent.on("error", () => {});
    silent.resume();
    const shaken = connect({ host: "127.0.0.1", port: served.listener.port ?? 0, rejectUnauthorized: false });
    shaken.on("error", () => {});
    shaken.resume();
    const closed = Promise.all([once(silent, "close"), once(shaken, "close")]);
    assert.deepEqual(await curl(served.listener, "/", ...trusting("one")), { code: 0, out: "xxxxxxxx" });
    await closed;
  });

  it("refuses an address that is in use", async () => {
    await using served = await serve(() => new Response("first"));
    await assert.rejects(
      host.serve({ port: served.listener.port ?? 0, tls: two }, () => new Response("second")),
      (error) => error instanceof Failure && error.code === "unavailable",
    );
  });
});
