import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { DistributionOptions } from "../../src/core/distribution.ts";
import { parseReference } from "../../src/core/reference.ts";
import type { Credentials } from "../../src/distribution/credentials.ts";
import { HostsFolder } from "../../src/distribution/hosts.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { makeCertificate, registryUser, startRegistry, type TestRegistry } from "../support/registry.ts";
import { type TinyImage, writeLayout } from "./image_layout.ts";
import { oddServer } from "./odd_server.ts";

const code = (wanted: string, pattern = /./) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, wanted, (error as Error).message);
  assert.match((error as Error).message, pattern);
  return true;
};

describe("a folder of hosts.toml files", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-hosts-"));
  let image: TinyImage;
  let plain: TestRegistry;
  let secure: TestRegistry;
  let locked: TestRegistry;
  let count = 0;

  before(async () => {
    image = writeLayout(join(folder, "layout"), randomBytes(200_000));
    [plain, secure, locked] = await Promise.all([
      startRegistry(),
      startRegistry({ tls: true }),
      startRegistry({ auth: "htpasswd" }),
    ]);
    for (const registry of [plain, secure, locked]) await registry.push(image.source, "team/tiny:1");
  });
  after(async () => {
    for (const registry of [plain, secure, locked]) await registry?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A client that reads what is written here. @param files by path below the folder. */
  function client(
    files: Readonly<Record<string, string>>,
    credentials: (registry: string) => Credentials | undefined = () => undefined,
  ): Registry {
    const hosts = join(folder, `hosts-${count++}`);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(hosts, path, ".."), { recursive: true });
      writeFileSync(join(hosts, path), text);
    }
    return new Registry({
      plainHttp: [],
      credentials: async ({ registry }) => credentials(registry),
      hosts: new HostsFolder(hosts),
      headerTimeoutMs: 5000,
      stallTimeoutMs: 5000,
      retry: { attempts: 1, baseMs: 1, maxMs: 1 },
    });
  }

  async function pulls(registry: Registry, name: string, options?: DistributionOptions): Promise<void> {
    const reference = parseReference(name);
    assert.deepEqual(await registry.resolve(reference, options), image.manifest);
    for (const descriptor of [image.manifest, image.layer]) {
      const { body } = await registry.fetch(reference, descriptor, options);
      assert.equal((await new Response(body).bytes()).length, descriptor.size);
    }
  }

  it("a mirror is asked first, and told for whom it stands in", async () => {
    await using mirror = await oddServer(() => ({ status: 404 }));
    const files = {
      "example.test/hosts.toml": `server = "http://${plain.host}"\n[host."http://${mirror.host}"]\n`,
    };
    await pulls(client(files), "example.test/team/tiny:1");
    assert.equal(mirror.requests[0]?.path, "/v2/team/tiny/manifests/1?ns=example.test");
  });

  it("the registry itself is not asked for what a mirror has", async () => {
    await using itself = await oddServer(() => ({ status: 500 }));
    const files = {
      "example.test_5000_/hosts.toml": `server = "http://${itself.host}"\n[host."http://${plain.host}"]\n` +
        `capabilities = ["pull", "resolve"]\n`,
    };
    await pulls(client(files), "example.test:5000/team/tiny:1");
    assert.equal(itself.requests.length, 0);
  });

  it("where nobody has it, the last one's failure is told, with those before it", async () => {
    const text = `server = "http://${plain.host}"\n[host."http://${locked.host}"]\n`;
    await assert.rejects(
      client({ "_default/hosts.toml": text }).resolve(parseReference("any.test/none:1")),
      code("not_found", new RegExp(`before it, ${locked.host}: .* answered 401`)),
    );
  });

  it("what a host may not be asked, it is not asked", async () => {
    const text = `server = "http://${plain.host}"\ncapabilities = ["pull", "resolve"]\n`;
    const registry = client({ "example.test/hosts.toml": text });
    const { layer } = image;
    const never = () => assert.fail("it is not sent");
    await assert.rejects(
      registry.pushBlob(parseReference("example.test/team/tiny:1"), layer, never),
      code("failed_precondition", /no host of example\.test may be asked to: give one the capability "push"/),
    );
  });

  it("the caller's credentials are for the registry, a mirror has its own", async () => {
    const text = `[host."http://${locked.host}"]\n`;
    const options = { credentials: { username: "other", password: "secret" } };
    const own = (registry: string) =>
      registry === locked.host ? { kind: "password" as const, ...registryUser } : undefined;
    await pulls(client({ "example.test/hosts.toml": text }, own), "example.test/team/tiny:1", options);
  });

  it("a CA of its own is trusted, by hosts.toml and by Docker's names", async () => {
    const ca = readFileSync(secure.ca ?? "", "utf8");
    const name = `${secure.host}/team/tiny:1`;
    const toml = `server = "https://${secure.host}"\nca = "own.pem"\n`;
    await pulls(client({ [`${secure.host}/hosts.toml`]: toml, [`${secure.host}/own.pem`]: ca }), name);
    await pulls(client({ [`${secure.host}/own.crt`]: ca }), name, { plainHttp: false });
    await pulls(
      client({ [`${secure.host}/hosts.toml`]: `server = "https://${secure.host}"\nskip_verify = true\n` }),
      name,
    );
    await assert.rejects(
      client({ [`${secure.host}/hosts.toml`]: `server = "https://${secure.host}"\n` }).resolve(parseReference(name)),
      code("failed_precondition", /certificate is not trusted/),
    );
  });

  it("pushes by it, too", async () => {
    const ca = readFileSync(secure.ca ?? "", "utf8");
    const registry = client({ [`${secure.host}/own.crt`]: ca });
    const { layer } = writeLayout(join(folder, "pushed"), randomBytes(300_000));
    const bytes = readFileSync(join(folder, "pushed/blobs/sha256", layer.digest.slice(7)));
    const to = parseReference(`${secure.host}/pushed/x:1`);
    async function* source(offset: number) {
      yield bytes.subarray(offset);
    }
    assert.equal(await registry.pushBlob(to, layer, source, { plainHttp: false }), "uploaded");
    assert.equal(await registry.pushBlob(to, layer, source, { plainHttp: false }), "exists");
  });

  it("certificate and headers are shown to the host, and to nobody that it sends on to", async () => {
    const { certificate, key } = await makeCertificate(folder);
    const pem = (path: string) => readFileSync(path, "utf8");
    const seen: [port: number, authorized: boolean, header: unknown][] = [];
    const options = { cert: pem(certificate), key: pem(key), ca: pem(join(folder, "ca.pem")) };
    const servers = [0, 1].map((at) =>
      createServer({ ...options, requestCert: true, rejectUnauthorized: false }, (request, response) => {
        seen.push([at, (request.socket as TLSSocket).authorized, request.headers["x-own"]]);
        const bytes = readFileSync(join(folder, "layout/blobs/sha256", image.manifest.digest.slice(7)));
        if (at === 0) response.writeHead(307, { location: `https://127.0.0.1:${portOf(1)}/elsewhere` }).end();
        else response.writeHead(200, { "content-type": image.manifest.mediaType }).end(bytes);
      })
    );
    const portOf = (at: number) => (servers[at]?.address() as AddressInfo).port;
    try {
      for (const server of servers) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const text = `server = "https://127.0.0.1:${portOf(0)}"\nca = ["ca.pem"]\nclient = [["c.pem", "c.key"]]\n` +
        `[header]\nx-own = "yes"\n`;
      const files = { hosts: text, "ca.pem": options.ca, "c.pem": options.cert, "c.key": options.key };
      const registry = client(
        Object.fromEntries(
          Object.entries(files).map(([name, text]) => [`own.test/${name.replace(/^hosts$/, "hosts.toml")}`, text]),
        ),
      );
      const { body } = await registry.fetch(parseReference("own.test/team/tiny:1"), image.manifest);
      assert.equal((await new Response(body).bytes()).length, image.manifest.size);
      assert.deepEqual(seen, [[0, true, "yes"], [1, false, undefined]]);
    } finally {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    }
  });

  const broken: readonly [string, string, RegExp][] = [
    ["that is no TOML", "server = ", /hosts\.toml", which says how registries are reached: /],
    ["with another type", "server = 5", /hosts\.toml".*server/],
    ["with an unknown capability", '[host."x"]\ncapabilities = ["fly"]', /capabilities.*one of pull, resolve, push/],
    ["with a CA that is not there", 'ca = "none.pem"', /none\.pem".*ENOENT|none\.pem".*no such file/i],
    ["with an address that is none", 'server = "https://[x"', /"https:\/\/\[x" is no address/],
  ];
  for (const [what, text, pattern] of broken) {
    it(`refuses a file ${what}`, async () => {
      await assert.rejects(client({ "r.test/hosts.toml": text }).resolve(parseReference("r.test/x:1")), (error) => {
        assert.match(String(error), pattern);
        return true;
      });
    });
  }
});
