import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { parseReference } from "../../src/core/reference.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { digestOfBytes } from "../support/layout_folder.ts";
import { type OddAnswer, oddServer } from "./odd_server.ts";

const subject = `sha256:${"5".repeat(64)}` as const;
const user = { username: "alice", password: "s3cret" };

const registry = new Registry({
  plainHttp: [],
  credentials: async () => undefined,
  headerTimeoutMs: 5000,
  stallTimeoutMs: 5000,
  retry: { attempts: 1, baseMs: 1, maxMs: 1 },
});

const one = (name: string) => ({ mediaType: mediaTypes.manifest, digest: digestOfBytes(name), size: 7 });
const page = (names: readonly string[], link?: string): OddAnswer => ({
  status: 200,
  headers: { "content-type": mediaTypes.index, ...(link === undefined ? {} : { link }) },
  body: JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: names.map(one) }),
});

/** What refers to the subject, by a registry that answers each path as it is told. */
async function listed(answer: (path: string, host: string) => OddAnswer) {
  await using server = await oddServer(({ path }) => answer(path, server.host));
  const reference = { ...parseReference(`${server.host}/team/app`), digest: subject };
  const found = await registry.referrers(reference, { credentials: user });
  return { digests: found.map(({ digest }) => digest), requests: server.requests };
}

describe("what refers to an image", () => {
  const list = `/v2/team/app/referrers/${subject}`;
  const links: readonly [form: string, link: (host: string) => string][] = [
    ["a path", () => `<${list}?last=b>; rel="next"`],
    ["an address", (host) => `<http://${host}${list}?last=b>; rel=next`],
    ["a query alone", () => `<?last=b>;rel="next"; title="more"`],
    ["one of several", () => `<${list}?last=z>; rel="last", <${list}?last=b>; title="a, b"; rel="start next"`],
  ];
  for (const [form, link] of links) {
    it(`comes in pages, the next of which is ${form}`, async () => {
      const { digests, requests } = await listed((path, host) =>
        path === list ? page(["a", "b"], link(host)) : page(["c"])
      );
      assert.deepEqual(digests, ["a", "b", "c"].map(digestOfBytes));
      assert.deepEqual(requests.map(({ path }) => path), [list, `${list}?last=b`]);
    });
  }

  it("is all where the link is of something else", async () => {
    for (const link of [`<${list}?last=b>; rel="last"`, `<${list}?last=b>`, "next", `<${list}>; title="rel=next"`]) {
      const { digests } = await listed((path) => path === list ? page(["a"], link) : { status: 500 });
      assert.deepEqual(digests, [digestOfBytes("a")]);
    }
  });

  it("is under a tag where the registry has no list, and nothing where it has no tag", async () => {
    const tag = `/v2/team/app/manifests/sha256-${"5".repeat(64)}`;
    for (const status of [404, 400, 405, 406]) {
      const { digests } = await listed((path) => path === tag ? page(["a"]) : { status });
      assert.deepEqual(digests, [digestOfBytes("a")]);
    }
    assert.deepEqual((await listed(() => ({ status: 404 }))).digests, []);
  });

  const refused: readonly [what: string, answer: (path: string) => OddAnswer, code: string, text: RegExp][] = [
    [
      "a page is missing",
      (path) => path === list ? page(["a"], `<?2>; rel=next`) : { status: 404 },
      "not_found",
      /404/,
    ],
    [
      "a page is no index",
      (path) => path === list ? page(["a"], `<?2>; rel=next`) : { status: 200, body: "{}" },
      "invalid_argument",
      /no index/,
    ],
    ["there is no last page", () => page(["a"], `<?again>; rel="next"`), "resource_exhausted", /more than 32 pages/],
    [
      "the next page is no address of the web",
      () => page(["a"], `<file:///etc/passwd>; rel="next"`),
      "permission_denied",
      /neither https nor http/,
    ],
  ];
  for (const [what, answer, code, text] of refused) {
    it(`is not known where ${what}`, async () => {
      await assert.rejects(listed(answer), (error: Error & { code: string }) => {
        assert.equal(error.code, code, error.message);
        assert.match(error.message, text);
        assert.match(error.message, /cannot list what refers to sha256:5/);
        return true;
      });
    });
  }

  it("may go on at another host, which gets no credentials", async () => {
    await using other = await oddServer(() => page(["b"]));
    const { digests } = await listed((path) =>
      path === list ? page(["a"], `<http://${other.host}/more>; rel=next`) : { status: 500 }
    );
    assert.deepEqual(digests, ["a", "b"].map(digestOfBytes));
    assert.equal(other.requests[0]?.headers["authorization"], undefined);
  });
});
