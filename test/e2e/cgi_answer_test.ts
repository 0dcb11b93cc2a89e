import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";

const script = `case $PATH_INFO in
/page) printf 'Status: 404 Not Found\\nContent-Type: text/html\\nSet-Cookie: a=1\\nSet-Cookie: b=2\\n\\n<p>none</p>' ;;
/away) printf 'Location: /elsewhere\\n\\n' ;;
/empty) printf 'Status: 204\\n\\nnot sent' ;;
/large) printf 'Content-Type: text/plain\\n\\n'; head -c 300000 /dev/zero ;;
/slow) printf 'Content-Type: text/x-'; sleep 0.1; printf 'slow\\n\\nbegun\\n'; sleep 0.1; printf more ;;
/wrong) echo hello ;;
/endless) yes ;;
/failed) printf 'Content-Type: text/plain\\n\\n'; exit 3 ;;
esac`;

describe("the answer of a function that writes as CGI has it", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-cgi-"));
  let daemon: MayflyProcess;
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${daemon.url}/fn/cgi${path}`, { redirect: "manual", ...init });

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn"]);
    for (
      const words of [
        ["import", ...stateFlags(folder), makeBusyboxImage(folder, "box:1")],
        ["deploy", ...stateFlags(folder), "cgi", "--image", "box:1", "--answer", "cgi", "--", "sh", "-c", script],
      ]
    ) {
      const { code, stderr } = await mayfly(words, { input: "" });
      assert.equal(code, 0, stderr);
    }
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("has its status, its header fields and its body", async () => {
    const answer = await ask("/page");
    assert.equal(answer.status, 404);
    assert.equal(answer.headers.get("content-type"), "text/html");
    assert.equal(answer.headers.get("content-length"), "11");
    assert.deepEqual(answer.headers.getSetCookie(), ["a=1", "b=2"]);
    assert.match(answer.headers.get("x-mayfly-start") ?? "", /cold/);
    assert.equal(await answer.text(), "<p>none</p>");
  });

  it("may redirect, or have no body", async () => {
    const away = await ask("/away");
    assert.deepEqual([away.status, away.headers.get("location")], [302, "/elsewhere"]);
    const empty = await ask("/empty");
    assert.deepEqual([empty.status, await empty.text()], [204, ""]);
    const head = await ask("/page", { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("content-type")], [404, "text/html"]);
  });

  it("flows where it is large, or slow", async () => {
    const large = await ask("/large");
    assert.equal(large.headers.get("content-type"), "text/plain");
    assert.equal((await large.arrayBuffer()).byteLength, 300_000);
    const slow = await ask("/slow");
    assert.equal(slow.headers.get("content-type"), "text/x-slow");
    assert.equal(await slow.text(), "begun\nmore");
  });

  it("is an error where it cannot be understood, or the function fails", async () => {
    for (
      const [path, status, message] of [["/wrong", 502, /no end of CGI/], ["/endless", 502, /more than/], [
        "/failed",
        500,
        /exit code 3/,
      ]] as const
    ) {
      const answer = await ask(path);
      assert.equal(answer.status, status, path);
      assert.match(await answer.text(), message);
    }
    const { items } = await (await daemon.admin("GET", "/v1/invocations?limit=3")).json() as {
      items: { status: string }[];
    };
    assert.deepEqual(items.map(({ status }) => status), ["failed", "error", "error"]);
  });
});
