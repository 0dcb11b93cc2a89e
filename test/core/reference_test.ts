import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { familiarReference, formatReference, parseReference } from "../../src/core/reference.ts";

const a = "a".repeat(64);
const sha256 = `sha256:${a}`;

describe("parseReference()", () => {
  const read: readonly [text: string, full: string, familiar: string][] = [
    ["busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
    ["owner/name", "docker.io/owner/name:latest", "owner/name:latest"],
    ["docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"],
    ["docker.io/foo.bar/baz", "docker.io/foo.bar/baz:latest", "docker.io/foo.bar/baz:latest"],
    ["localhost/x", "localhost/x:latest", "localhost/x:latest"],
    ["localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"],
    ["localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"],
    ["GHCR.io/a/b-c__d.e:T_1", "ghcr.io/a/b-c__d.e:T_1", "ghcr.io/a/b-c__d.e:T_1"],
    ["127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest"],
    ["[::1]:5000/x:t", "[::1]:5000/x:t", "[::1]:5000/x:t"],
    ["[2001:db8::1]/x", "[2001:db8::1]/x:latest", "[2001:db8::1]/x:latest"],
    [`x@${sha256}`, `docker.io/library/x@${sha256}`, `x@${sha256}`],
    [`r.io/x:t@${sha256}`, `r.io/x:t@${sha256}`, `r.io/x:t@${sha256}`],
    [`x@sha512:${a}${a}`, `docker.io/library/x@sha512:${a}${a}`, `x@sha512:${a}${a}`],
    [`r.io/${"b".repeat(250)}`, `r.io/${"b".repeat(250)}:latest`, `r.io/${"b".repeat(250)}:latest`],
    [`r.io/x:${"t".repeat(128)}`, `r.io/x:${"t".repeat(128)}`, `r.io/x:${"t".repeat(128)}`],
  ];
  for (const [text, full, familiar] of read) {
    it(`reads ${text.slice(0, 60)}`, () => {
      const reference = parseReference(text);
      assert.equal(formatReference(reference), full);
      assert.equal(familiarReference(reference), familiar);
      assert.deepEqual(parseReference(full), reference);
      assert.deepEqual(parseReference(familiar), reference);
    });
  }

  const refused: readonly [text: string, why: RegExp][] = [
    ["", /it is empty/],
    ["x".repeat(2000), /it has 2000 characters/],
    [`r.io/${"b".repeat(251)}`, /longer than 255/],
    ["BusyBox", /must be lower case: want "library\/busybox"/],
    ["A B", /the part "A B" of the repository may have lower-case/],
    ["r.io/Owner/x", /must be lower case: want "owner\/x"/],
    [a, /64 hex digits are an id/],
    ["x:", /no tag follows/],
    ["x:-1", /the tag "-1" may have/],
    ["x:ä", /the tag "ä" may have/],
    [`x:${"t".repeat(129)}`, /the tag has 129 characters/],
    ["x@", /the digest "" must be/],
    ["x@sha256:abc", /the digest "sha256:abc" must be/],
    [`x@${sha256.toUpperCase()}`, /must be sha256:/],
    [`x@${sha256}@${sha256}`, /must be sha256:/],
    ["@", /the digest "" must be/],
    [`@${sha256}`, /it names no repository/],
    ["/x", /has an empty part/],
    ["x/", /has an empty part/],
    ["r.io/", /it names no repository/],
    ["r.io//x", /has an empty part/],
    ["r.io/../x", /has a part that is \.\./],
    ["r.io/./x", /has a part that is \./],
    ["../x", /the registry "\.\." is no host/],
    ["r.io/a..b", /the part "a\.\.b"/],
    ["r.io/a___b", /the part "a___b"/],
    ["r.io/-a", /the part "-a"/],
    ["r.io/a b", /the part "a b"/],
    ["r.io/a%2fb", /the part "a%2fb"/],
    ["r.io/a?x", /the part "a\?x"/],
    ["r.io:0/x", /no port from 1 to 65535/],
    ["r.io:65536/x", /no port from 1 to 65535/],
    ["r.io:/x", /no port from 1 to 65535/],
    ["r.io:5x/x", /no port from 1 to 65535/],
    ["user@r.io/x", /the digest "r\.io\/x" must be/],
    ["-r.io/x", /is no host name or address/],
    ["r_.io/x", /is no host name or address/],
    ["[::g]/x", /is no host name or address/],
    ["[::1/x", /is no host name or address|no port/],
    ["https://r.io/x", /no port from 1 to 65535/],
    ["r.io/x\n", /the part "x\\n"/],
    ["r.io/x\0", /the part "x\\u0000"/],
  ];
  for (const [text, why] of refused) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(() => parseReference(text), (error: unknown) => {
        assert.equal((error as { code?: string }).code, "invalid_argument");
        assert.match((error as Error).message, /^cannot parse image reference "/);
        assert.match((error as Error).message, why);
        return true;
      });
    });
  }

  it("takes no time for a text that was made to take long", () => {
    const started = performance.now();
    for (const part of ["a.", "a-", "a_", "-", "a", "0."]) {
      for (const end of ["", "!", "/", ":"]) {
        try {
          parseReference("r.io/" + part.repeat(120) + end);
        } catch {
          // Most are refused; how fast is what counts.
        }
      }
    }
    assert.ok(performance.now() - started < 200);
  });
});
