import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { LocalContent } from "../../src/content/store.ts";
import type { Descriptor } from "../../src/core/descriptor.ts";
import { parseReference } from "../../src/core/reference.ts";
import { CredentialHelpers } from "../../src/distribution/credential_helper.ts";
import { dockerCredentials } from "../../src/distribution/credentials.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { currentHost } from "../../src/host/mod.ts";
import { type RegistryOptions, registryUser, startRegistry, type TestRegistry } from "../support/registry.ts";
import { sameHost } from "../support/same_host.ts";
import { type TinyImage, writeLayout } from "./image_layout.ts";

const code = (wanted: string, pattern = /./) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, wanted, (error as Error).message);
  assert.match((error as Error).message, pattern);
  return true;
};

const helpers = new CredentialHelpers(await currentHost());

function client(dockerConfig = "/nonexistent"): Registry {
  return new Registry({
    plainHttp: [],
    credentials: (reference) => dockerCredentials(dockerConfig, reference, helpers.ask.bind(helpers)),
    headerTimeoutMs: 5000,
    stallTimeoutMs: 5000,
    retry: { attempts: 2, baseMs: 10, maxMs: 100 },
  });
}

async function all(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Runs tests on one registry, with a tiny image in `public/tiny:1` and `private/tiny:1`. */
function onRegistry(
  what: string,
  options: RegistryOptions,
  tests: (at: () => { registry: TestRegistry; image: TinyImage; folder: string }) => void,
): void {
  describe(`Registry with ${what}`, () => {
    let folder: string;
    let registry: TestRegistry;
    let image: TinyImage;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "mayfly-distribution-"));
      registry = await startRegistry(options);
      image = writeLayout(join(folder, "layout"), randomBytes(3_000_000));
      for (const repository of ["public/tiny", "private/tiny"]) await registry.push(image.source, `${repository}:1`);
    });
    after(async () => {
      await registry?.[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    });
    tests(() => ({ registry, image, folder }));
  });
}

onRegistry("no authentication", {}, (at) => {
  const reference = (name = "public/tiny:1") => parseReference(`${at().registry.host}/${name}`);

  it("resolve() finds what a tag and a digest name", async () => {
    const { manifest } = at().image;
    assert.deepEqual(await client().resolve(reference()), manifest);
    assert.deepEqual(await client().resolve(reference(`public/tiny@${manifest.digest}`)), manifest);
    assert.deepEqual(await client().resolve(reference(`public/tiny:other@${manifest.digest}`)), manifest);
  });

  it("fetch() gives every part of an image, which the content store verifies", async () => {
    const { image, folder } = at();
    const store = await LocalContent.open(join(folder, "content"));
    for (const descriptor of [image.manifest, image.config, image.layer]) {
      const { body, offset } = await client().fetch(reference(), descriptor);
      assert.equal(offset, 0);
      await using ingest = await store.writer(`fetch-${descriptor.digest}`, descriptor);
      for await (const chunk of body) await ingest.write(chunk);
      assert.equal((await ingest.commit()).digest, descriptor.digest);
    }
  });

  it("fetch() goes on at an offset", async () => {
    const { layer } = at().image;
    const whole = await all((await client().fetch(reference(), layer)).body);
    for (const offset of [1, 1_000_000, layer.size - 1, layer.size]) {
      const rest = await client().fetch(reference(), layer, { offset });
      assert.equal(rest.offset, offset);
      assert.equal(Buffer.compare(await all(rest.body), whole.subarray(offset)), 0);
    }
    await assert.rejects(client().fetch(reference(), layer, { offset: layer.size + 1 }), code("invalid_argument"));
  });

  it("resolve() says that an image, a tag or a digest is not there", async () => {
    for (const name of ["none/such:1", "public/tiny:2", `public/tiny@sha256:${"0".repeat(64)}`]) {
      await assert.rejects(
        client().resolve(reference(name)),
        code("not_found", /answered 404 \((NAME|MANIFEST)_UNKNOWN/),
      );
    }
  });

  it("fetch() says that a blob is not there", async () => {
    const absent: Descriptor = { ...at().image.layer, digest: `sha256:${"1".repeat(64)}` };
    await assert.rejects(client().fetch(reference(), absent), code("not_found", /BLOB_UNKNOWN/));
  });

  it("fetch() refuses a blob that is shorter or longer than its descriptor says", async () => {
    const { layer } = at().image;
    const shorter = await client().fetch(reference(), { ...layer, size: layer.size - 10 });
    await assert.rejects(all(shorter.body), code("data_loss", /sends more than/));
    const longer = await client().fetch(reference(), { ...layer, size: layer.size + 10 });
    await assert.rejects(all(longer.body), code("data_loss", /ends at byte|another part/));
  });

  it("a blob that was changed in the registry does not pass the content store", async () => {
    const { registry, folder } = at();
    const changed = writeLayout(join(folder, "changed"), randomBytes(10_000));
    await registry.push(changed.source, "public/changed:1");
    await writeFile(registry.blobPath(changed.layer.digest), randomBytes(changed.layer.size));
    const store = await LocalContent.open(join(folder, "content"));
    const { body } = await client().fetch(reference("public/changed:1"), changed.layer);
    await using ingest = await store.writer("changed", changed.layer);
    for await (const chunk of body) await ingest.write(chunk);
    await assert.rejects(ingest.commit(), code("failed_precondition", /its digest is/));
    await truncate(registry.blobPath(changed.layer.digest), 100);
    const cut = client().fetch(reference("public/changed:1"), changed.layer).then(({ body }) => all(body));
    await assert.rejects(
      cut,
      (error: unknown) => ["data_loss", "unavailable"].includes((error as { code: string }).code),
    );
  });

  it("resolve() and fetch() stop when their signal aborts", async () => {
    const controller = new AbortController();
    const { body } = await client().fetch(reference(), at().image.layer, { signal: controller.signal });
    const reader = body.getReader();
    await reader.read();
    controller.abort();
    const rest = async () => {
      while (!(await reader.read()).done);
    };
    await assert.rejects(
      rest(),
      code("aborted", /^cannot fetch sha256:.* at byte [0-9]+ of [0-9]+: the request was cancelled$/),
    );
    await assert.rejects(
      client().resolve(reference(), { signal: AbortSignal.abort() }),
      code("aborted", /^cannot resolve /),
    );
    const late = client().resolve(parseReference(reference().registry + "/x"), { signal: AbortSignal.timeout(0) });
    await assert.rejects(late, code("deadline_exceeded"));
  });

  it("resolve() says that nobody listens", async () => {
    await assert.rejects(
      client().resolve(parseReference("127.0.0.1:9/x")),
      code("unavailable", /cannot reach|refused|port/),
    );
    await assert.rejects(
      client().resolve(reference(), { plainHttp: false }),
      code("unavailable", /cannot resolve 127\.0\.0\.1/),
    );
  });
});

onRegistry("a password", { auth: "htpasswd" }, (at) => {
  const reference = () => parseReference(`${at().registry.host}/private/tiny:1`);
  const config = async (value: unknown) => {
    const path = join(at().folder, "config.json");
    await writeFile(path, typeof value === "string" ? value : JSON.stringify(value));
    return client(path);
  };
  const auth = Buffer.from(`${registryUser.username}:${registryUser.password}`).toString("base64");

  it("pulls with the caller's credentials", async () => {
    const { image } = at();
    const registry = client();
    assert.deepEqual(await registry.resolve(reference(), { credentials: registryUser }), image.manifest);
    const { body } = await registry.fetch(reference(), image.layer, { credentials: registryUser });
    assert.equal((await all(body)).length, image.layer.size);
    // What one caller may do is not remembered for another.
    await assert.rejects(registry.resolve(reference()), code("unauthenticated"));
  });

  it("pulls with the credentials of Docker's config.json", async () => {
    const registry = await config({ auths: { [`http://${at().registry.host}/v2/`]: { auth } } });
    assert.deepEqual(await registry.resolve(reference()), at().image.manifest);
  });

  it("says what is wrong with the credentials", async () => {
    await assert.rejects(
      client().resolve(reference()),
      code("unauthenticated", /answered 401 .*: it does not exist, or wants credentials: log in with "docker login /),
    );
    const wrong = { ...registryUser, password: "wrong" };
    await assert.rejects(client().resolve(reference(), { credentials: wrong }), (error: unknown) => {
      assert.doesNotMatch(String(error), /wrong/);
      return code("unauthenticated", /user "alice" is not accepted/)(error);
    });
    for (const text of ['{"auths": {"x": {"auth": "c2VjcmV0', '{"auths": 3}']) {
      await assert.rejects(
        (await config(text)).resolve(reference()),
        code("failed_precondition", /config\.json": (it is no JSON|auths has another type)/),
      );
    }
  });

  it("asks the program that keeps the credentials", async () => {
    const name = `mayfly-test-${process.pid}`;
    const path = `/usr/local/bin/docker-credential-${name}`;
    const { host } = at().registry;
    const says = async (script: string) => {
      await writeFile(path, `#!/bin/sh\nread -r server || true\n${script}\n`, { mode: 0o755 });
      return (await config({ credHelpers: { [host]: name } })).resolve(reference());
    };
    try {
      const answer = JSON.stringify({
        ServerURL: host,
        Username: registryUser.username,
        Secret: registryUser.password,
      });
      assert.deepEqual(
        await says(`[ "$1 $server" = "get ${host}" ] && cat <<'end'\n${answer}\nend`),
        at().image.manifest,
      );
      await assert.rejects(says("echo credentials not found in native keychain; exit 1"), code("unauthenticated"));
      await assert.rejects(
        says("echo the keyring is locked; exit 3"),
        code("failed_precondition", /docker-credential-mayfly-test-\d+ .* ended with 3: the keyring is locked/),
      );
      await assert.rejects(says("echo secret"), (error: unknown) => {
        assert.doesNotMatch(String(error), /secret/);
        return code("failed_precondition", /is not Username and Secret/)(error);
      });
    } finally {
      await rm(path, { force: true });
    }
    await assert.rejects(
      (await config({ credsStore: "nowhere" })).resolve(reference()),
      code("failed_precondition", /docker-credential-nowhere .* is in none of .*\/usr\/bin.*: install it/),
    );
  });

  it("takes a mended password at once", async () => {
    const { host } = at().registry;
    const registry = await config({ auths: { [host]: { username: "alice", password: "wrong" } } });
    await assert.rejects(registry.resolve(reference()), code("unauthenticated"));
    await config({ auths: { [host]: { auth } } });
    assert.deepEqual(await registry.resolve(reference()), at().image.manifest);
  });
});

onRegistry("tokens", { auth: "token" }, (at) => {
  const reference = (name: string) => parseReference(`${at().registry.host}/${name}`);
  const asked = async (act: () => Promise<unknown>) => {
    const before = at().registry.tokens?.asked.length;
    await act();
    return at().registry.tokens?.asked.slice(before);
  };

  it("pulls what is public without credentials, with one token", async () => {
    const { image } = at();
    const registry = client();
    const asks = await asked(async () => {
      assert.deepEqual(await registry.resolve(reference("public/tiny:1")), image.manifest);
      await Promise.all([image.config, image.layer].map(async (descriptor) => {
        assert.equal(
          (await all((await registry.fetch(reference("public/tiny:1"), descriptor)).body)).length,
          descriptor.size,
        );
      }));
    });
    assert.deepEqual(asks, ["GET - repository:public/tiny:pull"]);
  });

  it("asks once for many requests that are challenged at the same time", async () => {
    const registry = client();
    const asks = await asked(() =>
      Promise.all(Array.from({ length: 5 }, () => registry.resolve(reference("public/tiny:1"))))
    );
    assert.equal(asks?.length, 1);
  });

  it("pulls what is private with a password", async () => {
    const asks = await asked(() => client().resolve(reference("private/tiny:1"), { credentials: registryUser }));
    assert.deepEqual(asks, ["GET alice repository:private/tiny:pull"]);
  });

  it("pulls what is private with an identity token", async () => {
    const path = join(at().folder, "config.json");
    const identitytoken = at().registry.tokens?.identityToken;
    await writeFile(path, JSON.stringify({ auths: { [at().registry.host]: { identitytoken } } }));
    const asks = await asked(() => client(path).resolve(reference("private/tiny:1")));
    assert.deepEqual(asks, ["POST alice repository:private/tiny:pull"]);
  });

  it("says what is wrong with the credentials", async () => {
    await assert.rejects(
      client().resolve(reference("private/tiny:1")),
      code("unauthenticated", /does not exist, or wants credentials/),
    );
    await assert.rejects(
      client().resolve(reference("private/tiny:1"), { credentials: { username: "bob", password: "x" } }),
      code("unauthenticated", /incorrect username or password.*user "bob" is not accepted/),
    );
  });
});

onRegistry("https", { tls: true }, (at) => {
  const name = () => `${at().registry.host}/public/tiny:1`;

  it("refuses a certificate of an unknown CA, and says how to trust it", async () => {
    await assert.rejects(
      client().resolve(parseReference(name()), { plainHttp: false }),
      code("failed_precondition", /its certificate is not trusted .*NODE_EXTRA_CA_CERTS and DENO_CERT/),
    );
  });

  it("trusts the CA that was named at the start", async () => {
    const [program, ...args] = await sameHost(fileURLToPath(new URL("resolve_once.ts", import.meta.url)));
    const { ca = "" } = at().registry;
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: ca, DENO_CERT: ca };
    const { stdout } = await promisify(execFile)(program, [...args, name()], { env });
    assert.deepEqual(JSON.parse(stdout), at().image.manifest);
  });

  it("says that a registry wants https", async () => {
    await assert.rejects(
      client().resolve(parseReference(name())),
      code("invalid_argument", /answered 400 \(.*HTTPS?/i),
    );
  });
});
