import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { digestOfBytes } from "../support/layout_folder.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";
import { RegistryClient, registryEnv, registryFlags, tokens } from "./client.ts";

const octets = { "content-type": "application/octet-stream" };

describe("the registry", () => {
  let world: World;
  let client: RegistryClient;
  before(async () => {
    world = await World.open(registryFlags, registryEnv);
    client = new RegistryClient(world.registry);
  });
  after(() => world?.[Symbol.asyncDispose]());

  const ingests = () => readdirSync(join(world.folder, "root/content/ingest"));
  const stored = (digest: string) => existsSync(join(world.folder, "root/content/blobs", digest.replace(":", "/")));
  const start = async (repository: string) => {
    const { headers } = await client.expect(202, "POST", `${repository}/blobs/uploads/`);
    assert.equal(headers.get("range"), "0-0");
    return headers.get("location") ?? "";
  };

  describe("access", () => {
    it("wants a namespace and its token", async () => {
      const basic = (text: string) => ({ authorization: `Basic ${btoa(text)}` });
      for (
        const headers of [
          { authorization: "" },
          basic("default:wrong"),
          basic(`team:${tokens.default}`),
          basic(`nobody:${tokens.default}`),
          basic(`constructor:${tokens.default}`),
          basic("default"),
          { authorization: "Basic ***" },
          { authorization: `Bearer ${tokens.default}` },
        ]
      ) {
        const refused = await client.refuse(401, ["UNAUTHORIZED"], "GET", "", { headers });
        assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic realm=/);
      }
      const { headers } = await client.expect(200, "GET", "");
      assert.equal(headers.get("docker-distribution-api-version"), "registry/2.0");
    });

    it("refuses requests for another host, and those of a page from elsewhere", async () => {
      await client.refuse(403, ["DENIED"], "GET", "", { headers: { origin: "https://elsewhere.example" } });
      const status = await new Promise((resolve, reject) => {
        const [host, port] = world.registry.split(":");
        request({ host, port, path: "/v2/", headers: { host: "rebound.example" } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        }).on("error", reject).end();
      });
      assert.equal(status, 403);
    });

    it("serves nothing else", async () => {
      for (const path of ["/v1/images", "/fn/x", "/metrics", "/v2/a/nothing/here"]) {
        const answer = await fetch(`http://${world.registry}${path}`, {
          headers: { authorization: `Basic ${btoa(`default:${tokens.default}`)}` },
        });
        await answer.body?.cancel();
        assert.equal(answer.status, 404, path);
      }
    });

    it("shows a namespace nothing of another", async () => {
      const mine = await client.artifact("app", "only in default", { reference: "1" });
      const team = new RegistryClient(world.registry, "team");
      await team.refuse(404, ["MANIFEST_UNKNOWN"], "GET", "app/manifests/1");
      await team.refuse(404, ["MANIFEST_UNKNOWN"], "GET", `app/manifests/${mine.descriptor.digest}`);
      await team.refuse(404, ["BLOB_UNKNOWN"], "GET", `app/blobs/${mine.layer.digest}`);
      await team.refuse(404, ["NAME_UNKNOWN"], "GET", "app/tags/list");
      for (const from of ["", "&from=app"]) {
        const { headers } = await team.expect(202, "POST", `app/blobs/uploads/?mount=${mine.layer.digest}${from}`);
        await team.expect(204, "DELETE", headers.get("location") ?? "");
      }
      // Who has the bytes has the blob, and nothing tells whether the store had them.
      await team.blob("app", "only in default");
      await team.expect(200, "GET", `app/blobs/${mine.layer.digest}`);
    });

    it("shows a repository nothing of another", async () => {
      const { layer, descriptor } = await client.artifact("first", "only in first");
      await client.refuse(404, ["BLOB_UNKNOWN"], "GET", `second/blobs/${layer.digest}`);
      await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", `second/manifests/${descriptor.digest}`);
      const refused = await client.refuse(
        400,
        ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"],
        "PUT",
        "second/manifests/1",
        {
          body: (await client.expect(200, "GET", `first/manifests/${descriptor.digest}`)).text,
          headers: { "content-type": mediaTypes.manifest },
        },
      );
      assert.ok(refused.errors.some(({ detail }) => detail?.digest === layer.digest));
    });

    it("does not show what the machine has pulled or imported under other names", async () => {
      const { items } = await world.admin<{ items: { name: string; target: { digest: string } }[] }>(
        "GET",
        "/v1/images",
      );
      const box = items.find(({ name }) => name === "docker.io/library/box:1");
      assert.ok(box !== undefined);
      await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", `box/manifests/${box.target.digest}`);
      await client.refuse(404, ["BLOB_UNKNOWN"], "GET", `box/blobs/${box.target.digest}`);
    });
  });

  describe("names", () => {
    for (const name of ["UPPER", "a//b", "-a", "a-", "a/.b", "a___b", `${"a".repeat(300)}`]) {
      it(`refuses repository ${name.slice(0, 20)}`, async () => {
        await client.refuse(400, ["NAME_INVALID"], "GET", `${name}/tags/list`);
        await client.refuse(400, ["NAME_INVALID"], "POST", `${name}/blobs/uploads/`);
      });
    }
    it("takes blobs, manifests, tags and uploads as parts of a repository's name", async () => {
      for (const name of ["blobs/uploads", "manifests", "tags/list", "a/blobs/uploads/b", "a__b/c--d.e"]) {
        const { descriptor } = await client.artifact(name, `in ${name}`, { reference: "v1" });
        const { headers } = await client.expect(200, "HEAD", `${name}/manifests/v1`);
        assert.equal(headers.get("docker-content-digest"), descriptor.digest);
        assert.deepEqual(JSON.parse((await client.expect(200, "GET", `${name}/tags/list`)).text).tags, ["v1"]);
      }
    });
    it("refuses tags and digests that are none", async () => {
      await client.refuse(400, ["MANIFEST_INVALID"], "GET", "a/manifests/.hidden");
      await client.refuse(400, ["MANIFEST_INVALID"], "PUT", `a/manifests/${"t".repeat(129)}`);
      await client.refuse(400, ["DIGEST_INVALID"], "GET", "a/manifests/sha256:short");
      await client.refuse(400, ["DIGEST_INVALID"], "GET", "a/blobs/md5:0123");
      await client.refuse(400, ["DIGEST_INVALID"], "POST", "a/blobs/uploads/?digest=sha256:short");
    });
  });

  describe("a blob", () => {
    const content = "0123456789".repeat(1000);
    const digest = digestOfBytes(content);

    it("is pushed with POST and PUT", async () => {
      const location = await start("blob/put");
      const { headers } = await client.expect(201, "PUT", `${location}?digest=${digest}`, {
        body: content,
        headers: octets,
      });
      assert.equal(headers.get("location"), `/v2/blob/put/blobs/${digest}`);
      assert.equal(headers.get("docker-content-digest"), digest);
      assert.equal((await client.expect(200, "GET", `blob/put/blobs/${digest}`)).text, content);
      await client.refuse(404, ["BLOB_UPLOAD_UNKNOWN"], "GET", location);
    });

    it("is pushed in chunks, in their order", async () => {
      const location = await start("blob/chunks");
      const chunk = (from: number, to: number, range = `${from}-${to - 1}`) => ({
        body: content.slice(from, to),
        headers: { ...octets, "content-range": range },
      });
      const first = await client.expect(202, "PATCH", location, chunk(0, 4000));
      assert.equal(first.headers.get("range"), "0-3999");
      for (const range of ["5000-8999", "0-3999", "3999-7998", "words", "8000-4000"]) {
        const refused = await client.refuse(416, ["BLOB_UPLOAD_INVALID"], "PATCH", location, chunk(4000, 8000, range));
        assert.equal(refused.headers.get("range"), "0-3999", range);
        assert.equal(refused.headers.get("location"), location);
      }
      assert.equal((await client.expect(204, "GET", location)).headers.get("range"), "0-3999");
      await client.expect(202, "PATCH", location, chunk(4000, 8000));
      await client.refuse(416, ["BLOB_UPLOAD_INVALID"], "PUT", `${location}?digest=${digest}`, chunk(9000, 10_000));
      await client.expect(201, "PUT", `${location}?digest=${digest}`, chunk(8000, 10_000));
      assert.equal((await client.expect(200, "GET", `blob/chunks/blobs/${digest}`)).text, content);
    });

    it("is refused a chunk of another length than it says", async () => {
      for (const range of ["0-4", "0-100"]) {
        const location = await start("blob/length");
        const asked = { body: "0123456789", headers: { ...octets, "content-range": range } };
        await client.refuse(400, ["SIZE_INVALID"], "PATCH", location, asked);
        await client.expect(204, "DELETE", location);
      }
    });

    it("is pushed as a stream", async () => {
      const location = await start("blob/stream");
      const parts = content.match(/.{1000}/g) ?? [];
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          const part = parts.shift();
          if (part === undefined) controller.close();
          else controller.enqueue(new TextEncoder().encode(part));
        },
      });
      const { headers } = await client.expect(202, "PATCH", location, { body, headers: octets });
      assert.equal(headers.get("range"), "0-9999");
      await client.expect(201, "PUT", `${location}?digest=${digest}`);
    });

    it("may be addressed by sha512", async () => {
      const wanted = `sha512:${createHash("sha512").update(content).digest("hex")}`;
      await client.expect(201, "POST", `blob/sha512/blobs/uploads/?digest=${wanted}`, { body: content });
      const location = await start("blob/sha512");
      await client.expect(202, "PATCH", location, { body: content, headers: octets });
      await client.expect(201, "PUT", `${location}?digest=${wanted}`);
      assert.equal((await client.expect(200, "GET", `blob/sha512/blobs/${wanted}`)).text, content);
    });

    it("that is not what it says leaves nothing", async () => {
      const wanted = digestOfBytes("something else");
      const other = "not that";
      const location = await start("blob/wrong");
      await client.refuse(400, ["DIGEST_INVALID"], "PUT", `${location}?digest=${wanted}`, {
        body: other,
        headers: octets,
      });
      await client.refuse(400, ["DIGEST_INVALID"], "POST", `blob/wrong/blobs/uploads/?digest=${wanted}`, {
        body: other,
      });
      await client.refuse(404, ["BLOB_UPLOAD_UNKNOWN"], "GET", location);
      assert.deepEqual([stored(wanted), stored(digestOfBytes(other)), ingests()], [false, false, []]);
    });

    it("can be given up", async () => {
      const location = await start("blob/cancel");
      await client.expect(202, "PATCH", location, { body: content, headers: octets });
      assert.equal(ingests().length, 1);
      await client.expect(204, "DELETE", location);
      await client.refuse(404, ["BLOB_UPLOAD_UNKNOWN"], "PATCH", location, { body: content, headers: octets });
      assert.deepEqual(ingests(), []);
    });

    it("goes on where a broken connection left it", async () => {
      const location = await start("blob/broken");
      const { hostname, port } = new URL(`http://${world.registry}`);
      const broken = connect(Number(port), hostname);
      broken.on("error", () => {});
      broken.write([
        `PATCH ${location} HTTP/1.1`,
        `Host: ${world.registry}`,
        `Authorization: Basic ${btoa(`default:${tokens.default}`)}`,
        `Content-Length: ${content.length}`,
        "",
        content.slice(0, 3000),
      ].join("\r\n"));
      const range = async () => (await client.expect(204, "GET", location)).headers.get("range");
      await until(async () => await range() === "0-2999");
      broken.destroy();
      await client.expect(202, "PATCH", location, {
        body: content.slice(3000),
        headers: { ...octets, "content-range": "3000-9999" },
      });
      await client.expect(201, "PUT", `${location}?digest=${digest}`);
    });

    it("is mounted from another repository of the namespace", async () => {
      await client.blob("mount/source", content);
      for (const from of ["&from=mount/source", ""]) {
        const to = `mount/to${from.length}`;
        const { headers } = await client.expect(201, "POST", `${to}/blobs/uploads/?mount=${digest}${from}`);
        assert.equal(headers.get("location"), `/v2/${to}/blobs/${digest}`);
        await client.expect(200, "HEAD", `${to}/blobs/${digest}`);
      }
      const elsewhere = await client.expect(202, "POST", `mount/to/blobs/uploads/?mount=${digest}&from=mount/nowhere`);
      await client.expect(204, "DELETE", elsewhere.headers.get("location") ?? "");
    });

    it("tells its length, and gives parts of itself", async () => {
      await client.blob("blob/range", content);
      const path = `blob/range/blobs/${digest}`;
      const head = await client.expect(200, "HEAD", path);
      assert.equal(head.headers.get("content-length"), "10000");
      assert.equal(head.headers.get("accept-ranges"), "bytes");
      const parts: readonly [string, number, string, string | null][] = [
        ["bytes=0-4", 206, "01234", "bytes 0-4/10000"],
        ["bytes=9998-", 206, "89", "bytes 9998-9999/10000"],
        ["bytes=-3", 206, "789", "bytes 9997-9999/10000"],
        ["bytes=9999-20000", 206, "9", "bytes 9999-9999/10000"],
        ["bytes=0-1,4-5", 200, content, null],
        ["items=0-1", 200, content, null],
      ];
      for (const [range, status, text, header] of parts) {
        const answer = await client.expect(status, "GET", path, { headers: { range } });
        assert.deepEqual([answer.text, answer.headers.get("content-range")], [text, header], range);
        assert.equal(answer.headers.get("content-length"), String(text.length));
      }
      for (const range of ["bytes=10000-", "bytes=5-4", "bytes=-0"]) {
        await client.expect(416, "GET", path, { headers: { range } });
      }
    });

    it("is deleted, unless a manifest needs it", async () => {
      const { layer, descriptor } = await client.artifact("blob/needed", "needed by a manifest");
      await client.refuse(403, ["DENIED"], "DELETE", `blob/needed/blobs/${layer.digest}`);
      await client.expect(202, "DELETE", `blob/needed/manifests/${descriptor.digest}`);
      await client.expect(202, "DELETE", `blob/needed/blobs/${layer.digest}`);
      await client.refuse(404, ["BLOB_UNKNOWN"], "DELETE", `blob/needed/blobs/${layer.digest}`);
      await client.refuse(404, ["BLOB_UNKNOWN"], "GET", `blob/needed/blobs/${layer.digest}`);
    });
  });

  describe("a manifest", () => {
    it("is pushed and had by digest and by tag", async () => {
      const { descriptor, text, headers } = await client.artifact("manifest/both", "hello", { reference: "v1" });
      assert.equal(headers.get("location"), `/v2/manifest/both/manifests/${descriptor.digest}`);
      for (const reference of ["v1", descriptor.digest]) {
        const got = await client.expect(200, "GET", `manifest/both/manifests/${reference}`);
        assert.equal(got.text, text);
        const head = await client.expect(200, "HEAD", `manifest/both/manifests/${reference}`);
        for (const { headers } of [got, head]) {
          assert.equal(headers.get("content-type"), mediaTypes.manifest);
          assert.equal(headers.get("content-length"), String(descriptor.size));
          assert.equal(headers.get("docker-content-digest"), descriptor.digest);
        }
      }
    });

    it("that is none is refused", async () => {
      const config = await client.blob("manifest/wrong", "{}", mediaTypes.config);
      const good = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [] };
      const put = (body: unknown, type: string = mediaTypes.manifest) => ({
        body: typeof body === "string" ? body : JSON.stringify(body),
        headers: { "content-type": type },
      });
      const refused: readonly [string, { body: string; headers: Record<string, string> }][] = [
        ["no JSON", put("{")],
        ["no object", put([])],
        ["no config", put({ ...good, config: undefined })],
        ["another size", put({ ...good, config: { ...config, size: 3 } })],
        ["another media type than it says", put(good, mediaTypes.dockerManifest)],
        ["an unknown media type", put({ ...good, mediaType: undefined }, "application/json")],
        ["Docker's schema 1", put({ schemaVersion: 1, name: "a", tag: "b" }, mediaTypes.dockerSchema1)],
        ["a manifest and an index", put({ ...good, mediaType: undefined, manifests: [] })],
      ];
      for (const [what, asked] of refused) {
        await client.refuse(400, ["MANIFEST_INVALID"], "PUT", "manifest/wrong/manifests/1", asked).catch((cause) => {
          throw new Error(what, { cause });
        });
      }
      const large = put({ ...good, annotations: { a: "x".repeat(4 << 20) } });
      await client.refuse(413, ["MANIFEST_INVALID"], "PUT", "manifest/wrong/manifests/1", large);
      await client.refuse(400, ["DIGEST_INVALID"], "PUT", `manifest/wrong/manifests/${digestOfBytes("")}`, put(good));
      await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", "manifest/wrong/manifests/1");
      await client.expect(201, "PUT", "manifest/wrong/manifests/1", put(good));
    });

    it("that is pushed by digest may get tags", async () => {
      const { descriptor, text } = await client.artifact("manifest/tags", "hello");
      const path = `manifest/tags/manifests/${descriptor.digest}?tag=a&tag=b`;
      const asked = { body: text, headers: { "content-type": mediaTypes.manifest } };
      assert.equal((await client.expect(201, "PUT", path, asked)).headers.get("oci-tag"), "a, b");
      assert.deepEqual(JSON.parse((await client.expect(200, "GET", "manifest/tags/tags/list")).text).tags, ["a", "b"]);
      await client.refuse(400, ["MANIFEST_INVALID"], "PUT", `${path}&tag=.no`, asked);
    });

    it("that is an index names manifests that are there", async () => {
      const { descriptor } = await client.artifact("manifest/index", "one");
      await client.manifest("manifest/index", { manifests: [descriptor] }, "all");
      const missing = { ...descriptor, digest: digestOfBytes("missing") };
      await client.refuse(400, ["MANIFEST_BLOB_UNKNOWN"], "PUT", "manifest/index/manifests/other", {
        body: JSON.stringify({ schemaVersion: 2, manifests: [descriptor, missing] }),
        headers: { "content-type": mediaTypes.index },
      });
    });

    it("goes with its tags; a tag goes alone", async () => {
      const { descriptor } = await client.artifact("manifest/delete", "hello", { reference: "a" });
      await client.artifact("manifest/delete", "hello", { reference: "b" });
      await client.expect(202, "DELETE", "manifest/delete/manifests/a");
      await client.refuse(404, ["MANIFEST_UNKNOWN"], "DELETE", "manifest/delete/manifests/a");
      await client.expect(200, "GET", "manifest/delete/manifests/b");
      await client.expect(202, "DELETE", `manifest/delete/manifests/${descriptor.digest}`);
      for (const reference of ["a", "b", descriptor.digest]) {
        await client.refuse(404, ["MANIFEST_UNKNOWN"], "GET", `manifest/delete/manifests/${reference}`);
      }
      await client.refuse(404, ["MANIFEST_UNKNOWN"], "DELETE", `manifest/delete/manifests/${descriptor.digest}`);
    });
  });

  it("lists tags, some at a time", async () => {
    const tags = ["1", "2.0", "A", "_x", "a", "b-c", "latest"];
    for (const tag of tags) await client.artifact("many/tags", "hello", { reference: tag });
    const list = async (query: string) => {
      const { text, headers } = await client.expect(200, "GET", `many/tags/tags/list${query}`);
      return { ...JSON.parse(text), next: /^<(.*)>; rel="next"$/.exec(headers.get("link") ?? "")?.[1] };
    };
    assert.deepEqual(await list(""), { name: "many/tags", tags, next: undefined });
    assert.deepEqual(await list("?n=0"), { name: "many/tags", tags: [], next: undefined });
    assert.deepEqual((await list("?last=a")).tags, ["b-c", "latest"]);
    const pages: string[][] = [];
    for (let query: string | undefined = "?n=3"; query !== undefined;) {
      const page: { tags: string[]; next?: string } = await list(query);
      pages.push(page.tags);
      query = page.next?.slice(page.next.indexOf("?"));
    }
    assert.deepEqual(pages, [tags.slice(0, 3), tags.slice(3, 6), tags.slice(6)]);
    await client.refuse(400, ["UNSUPPORTED"], "GET", "many/tags/tags/list?n=many");
    await client.refuse(404, ["NAME_UNKNOWN"], "GET", "no/such/tags/list");
  });

  it("lists what refers to a subject", async () => {
    const { descriptor: subject } = await client.artifact("subject/of", "the subject");
    const annotations = { note: "annotated" };
    const note = await client.artifact("subject/of", "a note", { subject, annotations });
    assert.equal(note.headers.get("oci-subject"), subject.digest);
    const config = await client.blob("subject/of", "{}", "application/vnd.example.config");
    const other = await client.manifest("subject/of", { config, layers: [], subject });
    const index = await client.manifest("subject/of", {
      manifests: [],
      subject,
      artifactType: "application/vnd.example.set",
    });
    const referrers = async (digest: string, query = "") => {
      const { text, headers } = await client.expect(200, "GET", `subject/of/referrers/${digest}${query}`);
      assert.equal(headers.get("content-type"), mediaTypes.index);
      return { ...JSON.parse(text), filters: headers.get("oci-filters-applied") };
    };
    const wanted = [
      { ...note.descriptor, artifactType: "application/vnd.example.note", annotations },
      { ...other.descriptor, artifactType: "application/vnd.example.config" },
      { ...index.descriptor, artifactType: "application/vnd.example.set" },
    ].sort((a, b) => a.digest < b.digest ? -1 : 1);
    const all = await referrers(subject.digest);
    assert.deepEqual(all, { schemaVersion: 2, mediaType: mediaTypes.index, manifests: wanted, filters: null });
    const filtered = await referrers(subject.digest, "?artifactType=application/vnd.example.note");
    assert.deepEqual(filtered.manifests.map(({ digest }: { digest: string }) => digest), [note.descriptor.digest]);
    assert.equal(filtered.filters, "artifactType");
    assert.deepEqual((await referrers(digestOfBytes("nothing"))).manifests, []);
    // The subject may come later.
    const late = { ...subject, digest: digestOfBytes("later") };
    const early = await client.artifact("subject/of", "too early", { subject: late });
    assert.equal((await referrers(late.digest)).manifests[0].digest, early.descriptor.digest);
  });
});
