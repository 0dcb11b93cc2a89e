import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, describe, it } from "node:test";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import type { Digest } from "../../src/core/digest.ts";
import { parseReference } from "../../src/core/reference.ts";
import { Registry, type RegistryOptions } from "../../src/distribution/registry.ts";
import { type OddAnswer, type OddHandler, type OddServer, oddServer } from "./odd_server.ts";

const user = { username: "alice", password: "s3cret" };
const code = (wanted: string, pattern = /./) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, wanted, (error as Error).message);
  assert.match((error as Error).message, pattern);
  assert.doesNotMatch((error as Error).message, /s3cret/);
  return true;
};

function client(options: Partial<RegistryOptions> = {}): Registry {
  return new Registry({
    plainHttp: [],
    credentials: async () => undefined,
    headerTimeoutMs: 2000,
    stallTimeoutMs: 2000,
    retry: { attempts: 3, baseMs: 5, maxMs: 200 },
    ...options,
  });
}

const sha256 = (bytes: Uint8Array): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const blobBytes = Uint8Array.from({ length: 300_000 }, (_, at) => at * 7);
const blob: Descriptor = { mediaType: mediaTypes.layerGzip, digest: sha256(blobBytes), size: blobBytes.length };
const manifestText = JSON.stringify({
  schemaVersion: 2,
  config: { ...blob, mediaType: mediaTypes.config },
  layers: [],
});
const manifest: Descriptor = {
  mediaType: mediaTypes.manifest,
  digest: sha256(new TextEncoder().encode(manifestText)),
  size: manifestText.length,
};

async function all(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Answers the first requests by the list, and the others with its last. */
const inTurn = (...answers: readonly OddAnswer[]): OddHandler => {
  let at = 0;
  return () => answers[Math.min(at++, answers.length - 1)];
};

describe("Registry against an odd server", () => {
  const servers: OddServer[] = [];
  after(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]();
  });
  const serve = async (handler: OddHandler, address?: string) => {
    const server = await oddServer(handler, address);
    servers.push(server);
    return { server, reference: parseReference(`${server.host}/a/b:1`) };
  };

  describe("resolve()", () => {
    it("reads the manifest itself where HEAD does not say enough", async () => {
      const answers: readonly OddAnswer[] = [
        { status: 405 },
        { status: 200, headers: { "content-type": mediaTypes.manifest } },
        { status: 200, headers: { "docker-content-digest": "sha256:nonsense", "content-type": mediaTypes.manifest } },
        { status: 404 },
      ];
      for (const head of answers) {
        const { reference } = await serve(({ method }) =>
          method === "HEAD"
            ? head
            : { status: 200, headers: { "content-type": mediaTypes.manifest }, body: manifestText }
        );
        assert.deepEqual(await client().resolve(reference), manifest);
      }
    });

    it("tells a manifest from an index by what is in it", async () => {
      const { reference } = await serve(() => ({ status: 200, body: '{"schemaVersion":2,"manifests":[]}' }));
      assert.equal((await client().resolve(reference)).mediaType, mediaTypes.index);
    });

    const json = (body: string, headers = {}) => ({
      status: 200,
      headers: { "content-type": "application/json", ...headers },
      body,
    });
    const table: readonly [what: string, answer: OddAnswer, code: string, pattern: RegExp][] = [
      [
        "a web page",
        { status: 200, headers: { "content-type": "text/html" }, body: "<html>" },
        "invalid_argument",
        /"text\/html" is no image manifest: it is no JSON/,
      ],
      ["JSON of another kind", json("[]"), "invalid_argument", /is no image manifest/],
      ["JSON without layers", json('{"schemaVersion":2}'), "invalid_argument", /neither manifests nor layers/],
      [
        "an artifact",
        json('{"schemaVersion":2,"mediaType":"application/x"}'),
        "invalid_argument",
        /"application\/x" is no image/,
      ],
      [
        "schema 1 by its type",
        json("{}", { "content-type": mediaTypes.dockerSchema1Signed }),
        "invalid_argument",
        /schema 1 manifest, which is no longer supported/,
      ],
      ["schema 1 by its version", json('{"schemaVersion":1}'), "invalid_argument", /schema 1/],
      [
        "a wrong digest header",
        json(manifestText, { "docker-content-digest": `sha256:${"0".repeat(64)}` }),
        "data_loss",
        /expected was sha256:0000/,
      ],
      ["a manifest of 5 MiB", json("x".repeat(5 << 20)), "resource_exhausted", /more than 4194304 bytes/],
      [
        "a manifest that says it has 5 MiB",
        {
          status: 200,
          headers: {
            "content-type": mediaTypes.manifest,
            "docker-content-digest": manifest.digest,
            "content-length": String(5 << 20),
          },
        },
        "resource_exhausted",
        /a manifest may have/,
      ],
      ["418", { status: 418 }, "failed_precondition", /answered 418/],
      [
        "403",
        { status: 403, body: '{"errors":[{"code":"DENIED","message":"no"}]}' },
        "permission_denied",
        /403 \(DENIED: no\)/,
      ],
      ["503", { status: 503 }, "unavailable", /answered 503/],
      ["401 without a challenge", { status: 401 }, "unauthenticated", /wants credentials/],
      [
        "401 with a broken challenge",
        { status: 401, headers: { "www-authenticate": 'Bearer realm="' } },
        "unavailable",
        /names no token server/,
      ],
      [
        "a text that steers the terminal",
        { status: 404, body: '{"errors":[{"code":"X","message":"a\\u001b[2Jb\\u202ec\\nd"}]}' },
        "not_found",
        /\(X: a \[2Jb c d\)$/,
      ],
      [
        "a redirect to a file",
        { status: 302, headers: { location: "file:///etc/passwd" } },
        "permission_denied",
        /neither https nor http/,
      ],
      [
        "a redirect to itself",
        { status: 302, headers: { location: "?" } },
        "unavailable",
        /redirects more than 5 times/,
      ],
    ];
    for (const [what, answer, wanted, pattern] of table) {
      it(`refuses ${what}`, async () => {
        const { reference } = await serve(() => answer);
        await assert.rejects(client().resolve(reference), code(wanted, pattern));
      });
    }

    it("refuses a digest other than the one that was asked for", async () => {
      const { server } = await serve(() => ({
        status: 200,
        headers: { "content-type": mediaTypes.manifest },
        body: "{}",
      }));
      const reference = parseReference(`${server.host}/a@${manifest.digest}`);
      await assert.rejects(client().fetch(reference, manifest).then(({ body }) => all(body)), code("data_loss"));
      const lying = await serve(() => ({
        status: 200,
        headers: { "content-type": mediaTypes.manifest, "docker-content-digest": blob.digest },
        body: manifestText,
      }));
      await assert.rejects(
        client().resolve(parseReference(`${lying.server.host}/a@${manifest.digest}`)),
        code("data_loss", /the registry has sha256:/),
      );
    });

    it("tries again after 503 and 429, and as long as the server asks for", async () => {
      const good: OddAnswer = { status: 200, headers: { "content-type": mediaTypes.manifest }, body: manifestText };
      const { server, reference } = await serve(
        inTurn({ status: 503 }, { status: 429, headers: { "retry-after": "0" } }, good),
      );
      assert.equal((await client().resolve(reference)).digest, manifest.digest);
      assert.ok(server.requests.length >= 3);
      const { server: busy, reference: other } = await serve(() => ({
        status: 429,
        headers: { "retry-after": "3600" },
      }));
      await assert.rejects(client().resolve(other), code("resource_exhausted", /limits how much may be asked of it/));
      assert.equal(busy.requests.length, 1);
    });

    it("does not wait for a server without end", async () => {
      const short = { headerTimeoutMs: 50, stallTimeoutMs: 50, retry: { attempts: 1, baseMs: 1, maxMs: 1 } };
      const silent = await serve(() => undefined);
      await assert.rejects(
        client(short).resolve(silent.reference),
        code("deadline_exceeded", /did not answer within 0.05 s/),
      );
      const stalled = await serve(({ method }, socket) => {
        if (method === "HEAD") return { status: 405 };
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
      });
      await assert.rejects(
        client(short).resolve(stalled.reference),
        code("deadline_exceeded", /^cannot resolve .*: 127.* sent nothing more within/),
      );
    });

    it("stops reading an endless error", async () => {
      let written = 0;
      const { reference } = await serve(({ method }, socket) => {
        if (method === "HEAD") return { status: 404 };
        socket.write("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n");
        const more = () => {
          if (socket.destroyed) return;
          written += 16_384;
          socket.write("x".repeat(16_384), () => setTimeout(more, 1));
        };
        more();
      });
      await assert.rejects(client().resolve(reference), code("not_found", /answered 404$/));
      assert.ok(written < 4 << 20, `${written} bytes`);
    });
  });

  describe("fetch()", () => {
    const range = ({ headers }: { headers: Readonly<Record<string, string>> }) =>
      Number(/^bytes=([0-9]+)-$/.exec(headers["range"] ?? "")?.[1] ?? 0);
    const rest = (from: number): OddAnswer => ({
      status: 206,
      headers: { "content-range": `bytes ${from}-${blob.size - 1}/${blob.size}` },
      body: blobBytes.subarray(from),
    });

    it("goes on where the connection was lost", async () => {
      const { server, reference } = await serve((request) => {
        const from = range(request);
        return from === 0
          ? { status: 200, body: blobBytes, cutAt: 100_000 }
          : { ...rest(from), ...(from < 200_000 ? { cutAt: 100_000 } : {}) };
      });
      const { body } = await client().fetch(reference, blob);
      assert.equal(sha256(await all(body)), blob.digest);
      assert.ok(server.requests.length >= 3, `${server.requests.length} requests`);
    });

    it("says where the connection was lost when the registry cannot go on", async () => {
      const { reference } = await serve(() => ({ status: 200, body: blobBytes, cutAt: 100_000 }));
      const { body } = await client().fetch(reference, blob);
      await assert.rejects(all(body), code("unavailable", /at byte 100000 of 300000: the connection was lost/));
    });

    for (
      const [what, answer] of [
        ["200 in place of a range", { status: 200, body: blobBytes }],
        ["416", { status: 416 }],
      ] as const
    ) {
      it(`begins again after ${what}`, async () => {
        const { reference } = await serve((request) => range(request) > 0 ? answer : { status: 200, body: blobBytes });
        const { body, offset } = await client().fetch(reference, blob, { offset: 1000 });
        assert.equal(offset, 0);
        assert.equal(sha256(await all(body)), blob.digest);
      });
    }

    it("refuses another range than the one that was asked for", async () => {
      for (const contentRange of ["", "bytes 0-10/300000", `bytes 1000-${blob.size - 1}/999`, "bytes 1000-1-1/2"]) {
        const { reference } = await serve(() => ({ ...rest(1000), headers: { "content-range": contentRange } }));
        await assert.rejects(client().fetch(reference, blob, { offset: 1000 }), code("data_loss", /another part/));
      }
    });

    it("cuts a body that does not end", async () => {
      const { reference } = await serve((_, socket) => {
        socket.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        const more = () => void (socket.destroyed || socket.write(blobBytes, () => setTimeout(more, 1)));
        more();
      });
      const { body } = await client().fetch(reference, blob);
      await assert.rejects(all(body), code("data_loss", /sends more than the 300000 bytes/));
    });
  });

  describe("credentials", () => {
    const challenge = (text: string): OddAnswer => ({ status: 401, headers: { "www-authenticate": text } });
    const good: OddAnswer = { status: 200, headers: { "content-type": mediaTypes.manifest }, body: manifestText };

    it("are not sent to another host that a registry redirects to", async () => {
      const storage = await serve(() => ({ status: 200, body: blobBytes }));
      const { server, reference } = await serve(({ headers }) =>
        headers["authorization"] === undefined
          ? challenge('Basic realm="x"')
          : { status: 307, headers: { location: `http://u:p@${storage.server.host}/x?signature=1` } }
      );
      const { body } = await client().fetch(reference, blob, { credentials: user });
      assert.equal(sha256(await all(body)), blob.digest);
      assert.match(server.requests.at(-1)?.headers["authorization"] ?? "", /^Basic /);
      assert.equal(storage.server.requests.length, 1);
      assert.equal(storage.server.requests[0]?.headers["authorization"], undefined);
    });

    it("are not given to a challenge of another host that a registry redirects to", async () => {
      const storage = await serve(({ path }) =>
        challenge(`Basic, Bearer realm="http://${storage.server.host}${path}"`)
      );
      const { reference } = await serve(() => ({
        status: 307,
        headers: { location: `http://${storage.server.host}/x` },
      }));
      await assert.rejects(client().fetch(reference, blob, { credentials: user }), code("unauthenticated"));
      assert.deepEqual(storage.server.requests.map(({ path, headers }) => [path, headers["authorization"]]), [[
        "/x",
        undefined,
      ]]);
    });

    it("are not sent to a token server on this machine that another machine names", async () => {
      const tokens = await serve(() => ({ status: 200, body: '{"token":"t"}' }));
      const { server } = await serve(() => challenge(`Bearer realm="http://${tokens.server.host}/token"`), "0.0.0.0");
      await assert.rejects(
        client({ plainHttp: ["0.0.0.0"] }).resolve(parseReference(`0.0.0.0:${server.port}/a`)),
        code("permission_denied", /names a token server on this machine/),
      );
      assert.equal(tokens.server.requests.length, 0);
    });

    it("are sent on within the same host", async () => {
      const { reference } = await serve(({ path, headers }) => {
        if (headers["authorization"] === undefined) return challenge("Basic");
        return path === "/elsewhere"
          ? { status: 200, body: blobBytes }
          : { status: 307, headers: { location: "/elsewhere" } };
      });
      assert.equal((await all((await client().fetch(reference, blob, { credentials: user })).body)).length, blob.size);
    });

    it("are not sent before a registry asks for them", async () => {
      const { server, reference } = await serve(() => good);
      await client().resolve(reference, { credentials: user });
      assert.ok(server.requests.every(({ headers }) => headers["authorization"] === undefined));
    });

    it("are not sent over plain http to another machine", async () => {
      for (const scheme of ['Basic realm="x"', 'Bearer realm="https://127.0.0.1:1/token"']) {
        const { server } = await serve(() => challenge(scheme), "0.0.0.0");
        const reference = parseReference(`0.0.0.0:${server.port}/a`);
        for (
          const registry of [client({ plainHttp: ["0.0.0.0"] }), client({ plainHttp: [`0.0.0.0:${server.port}`] })]
        ) {
          await assert.rejects(
            registry.resolve(reference, { credentials: user }),
            code("failed_precondition", /credentials are not sent over plain http/),
          );
        }
        assert.ok(server.requests.length > 0);
        assert.ok(server.requests.every(({ headers }) => headers["authorization"] === undefined));
      }
    });

    it("are not sent to a token server over plain http", async () => {
      const { reference } = await serve(() => challenge('Bearer realm="http://0.0.0.0:9/token",service="x"'));
      await assert.rejects(
        client().resolve(reference, { credentials: user }),
        code("failed_precondition", /token server 0\.0\.0\.0:9 is not reached over https/),
      );
    });

    it("answer one of several challenges", async () => {
      const { server, reference } = await serve(({ path, headers }) => {
        if (path.startsWith("/token")) return { status: 200, body: '{"access_token":"t1"}' };
        if (headers["authorization"] === "Bearer t1") return good;
        const { host } = server;
        return challenge(
          `Negotiate, Basic realm="a, b", bearer Realm="http://${host}/token?x=1", service="s \\"q\\"",error=invalid_token`,
        );
      });
      assert.equal((await client().resolve(reference)).digest, manifest.digest);
      const asked = new URL(server.requests.find(({ path }) => path.startsWith("/token"))?.path ?? "", "http://x");
      assert.deepEqual(Object.fromEntries(asked.searchParams), {
        x: "1",
        service: 's "q"',
        scope: "repository:a/b:pull",
      });
    });

    for (
      const [what, body] of [
        ["no JSON", "<html>"],
        ["no token", '{"expires_in":5}'],
        ["a token with a line break", '{"token":"a\\r\\nx: y"}'],
      ] as const
    ) {
      it(`refuse ${what} from a token server`, async () => {
        const { server, reference } = await serve(({ path }) =>
          path === "/v2/a/b/manifests/1"
            ? challenge(`Bearer realm="http://${server.host}/token"`)
            : { status: 200, body }
        );
        await assert.rejects(client().resolve(reference), code("unavailable", /what 127.* sent is no token/));
      });
    }

    it("get a new token when a registry no longer takes the old one", async () => {
      let issued = 0;
      const { server, reference } = await serve(({ path, headers }) => {
        if (path.startsWith("/token")) return { status: 200, body: `{"token":"t${++issued}"}` };
        return headers["authorization"] === `Bearer t${issued}`
          ? good
          : challenge(`Bearer realm="http://${server.host}/token"`);
      });
      const registry = client();
      await registry.resolve(reference);
      issued++;
      await registry.resolve(reference);
      assert.equal(issued, 3);
    });

    it("do not ask for ever", async () => {
      const { server, reference } = await serve(({ path }) =>
        path.startsWith("/token")
          ? { status: 200, body: '{"token":"t"}' }
          : challenge(`Bearer realm="http://${server.host}/token"`)
      );
      await assert.rejects(client().resolve(reference), code("unauthenticated"));
      assert.ok(server.requests.length <= 8, `${server.requests.length} requests`);
    });
  });
});
