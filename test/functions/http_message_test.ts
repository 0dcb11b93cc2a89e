import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { reasonOf } from "../../src/functions/failures.ts";
import { HttpConnection } from "../../src/functions/http/connection.ts";
import { parseAnswerHead } from "../../src/functions/http/message.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Asks a server that says this, whatever it is asked; in parts of so many bytes. */
async function ask(said: string, { method = "GET", step = 1 << 20 } = {}) {
  let sent = "";
  const connection = new HttpConnection({
    readable: new ReadableStream({
      start(controller) {
        for (let at = 0; at < said.length; at += step) controller.enqueue(bytes(said.slice(at, at + step)));
        controller.close();
      },
    }),
    writable: new WritableStream({
      write(part) {
        sent += new TextDecoder().decode(part);
      },
    }),
  }, () => {});
  const request = { method, target: "/", headers: new Headers({ host: "a" }), carry: undefined, length: undefined };
  const { head, body } = await connection.exchange(request, () => {});
  const text = await new Response(body).text();
  return { head, text, sent, reusable: connection.reusable };
}

const refused = (said: string, what: RegExp, method = "GET") =>
  assert.rejects(ask(said, { method }), (error) => {
    assert.equal(codeOf(error), "failed_precondition");
    assert.equal(reasonOf(error), "bad_answer");
    assert.match(messageOf(error), what);
    return true;
  });

describe("answers of HTTP/1.1", () => {
  it("are read by their length, in chunks, or to the end, however they are cut", async () => {
    for (const step of [1, 3, 1000]) {
      const known = await ask(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\na:c \r\n\r\nhello",
        { step },
      );
      assert.deepEqual([known.text, known.reusable, known.head.headers.get("a")], ["hello", true, "b, c"]);
      const chunks =
        "HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: x\r\n\r\n";
      assert.deepEqual(pick(await ask(chunks, { step })), ["hello", true]);
      assert.deepEqual(pick(await ask("HTTP/1.1 200 OK\r\n\r\nhello", { step })), ["hello", false]);
      assert.deepEqual(pick(await ask("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", { step })), ["hi", false]);
    }
    const none = await ask("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", { method: "HEAD" });
    assert.deepEqual(pick(none), ["", true]);
    assert.equal(none.sent, "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert.deepEqual(pick(await ask("HTTP/1.1 204 No Content\r\n\r\n")), ["", true]);
    // What nobody asked for is not taken for the next answer.
    assert.deepEqual(pick(await ask("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200")), ["", false]);
  });

  it("are refused where two readers could take them for different things, or none can", async () => {
    const ok = "HTTP/1.1 200 OK\r\n";
    await refused("", /without an answer/);
    await refused(`${ok}Content-Le`, /in the middle of its answer's head/);
    await refused("SSH-2.0-OpenSSH\r\n", /begins with "SSH-2.0-OpenSSH/);
    await refused("HTTP/2 200\r\n\r\n", /status line/);
    await refused("HTTP/1.1 101 Switching\r\n\r\n", /status is 101/);
    await refused("HTTP/1.1 999 No\r\n\r\n", /status is 999/);
    await refused(`${ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`, /both/);
    await refused(`${ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`, /Content-Length is "5, 6"/);
    await refused(`${ok}Content-Length: +5\r\n\r\nhello`, /Content-Length/);
    await refused(`${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`, /chunked alone/);
    await refused(`${ok}A b: c\r\n\r\n`, /"name: value"/);
    await refused(`${ok}A: b\r\n c\r\n\r\n`, /"name: value"/);
    await refused(`${ok}A: b\0c\r\n\r\n`, /characters/);
    await refused(`${ok}${"a: b\r\n".repeat(300)}\r\n`, /more than 256 fields/);
    await refused(`${ok}a: ${"b".repeat(70_000)}`, /more than 65536 bytes/);
    await refused(`${ok}Content-Length: 5\r\n\r\nhel`, /behind 3 of 5 bytes/);
    await refused(`${ok}Content-Length: 100000\r\n\r\nhel`, /behind 3 of 100000 bytes/);
    await refused(`${ok}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`, /its size/);
    await refused(`${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n`, /longer than it says/);
    await refused(`${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nhel`, /in the middle of its body/);
    await refused(`${ok}Transfer-Encoding: chunked\r\n\r\n${"1".repeat(5000)}`, /no size/);
  });

  it("take no longer for blanks in a line than for anything else", () => {
    const value = `a${" ".repeat(60_000)}b`;
    // Each of them once took seconds.
    for (let i = 0; i < 100; i++) {
      assert.equal(parseAnswerHead(bytes(`HTTP/1.1 200\r\nname: \t${value}\t `)).headers.get("name"), value);
    }
    assert.equal(parseAnswerHead(bytes("HTTP/1.1 200\r\nname: \t ")).headers.get("name"), "");
  });

  it("keep every byte of their fields", () => {
    const { headers } = parseAnswerHead(bytes("HTTP/1.1 200 \x80\r\nname: \x80\xe9\x9f"));
    assert.equal(headers.get("name"), "\x80\xe9\x9f");
  });
});

function pick({ text, reusable }: { readonly text: string; readonly reusable: boolean }) {
  return [text, reusable];
}
