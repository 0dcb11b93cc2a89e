import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { eventMode, eventsOf } from "../../src/functions/cloud_events.ts";
import type { InvocationRequest } from "../../src/functions/request.ts";

const structured = "application/cloudevents+json; charset=utf-8";
const batch = "application/cloudevents-batch+json";
const event = { specversion: "1.0", id: "1", source: "/here", type: "a.b" };

async function read(value: unknown, contentType = structured): Promise<readonly InvocationRequest[]> {
  const body = typeof value === "string" ? value : JSON.stringify(value);
  const headers = new Headers({ "content-type": contentType, "x-other": "kept", "ce-stray": "gone" });
  return await eventsOf({ headers, body: new Blob([body]).stream() } as InvocationRequest);
}

async function shown({ headers, body }: InvocationRequest): Promise<[Record<string, string>, string | undefined]> {
  return [Object.fromEntries(headers), body === null ? undefined : await new Response(body).text()];
}

describe("eventsOf", () => {
  it("leaves a request alone that carries none", async () => {
    const request = { headers: new Headers({ "content-type": "application/json" }), body: null } as InvocationRequest;
    assert.equal(eventMode(request.headers), undefined);
    assert.deepEqual(await eventsOf(request), [request]);
  });

  it("turns a structured event into a binary one", async () => {
    const [request] = await read({
      ...event,
      subject: 'ä "b" 50%',
      count: 3,
      flag: true,
      none: null,
      data: { a: [1] },
    });
    assert.ok(request !== undefined);
    assert.deepEqual(await shown(request), [{
      "ce-specversion": "1.0",
      "ce-id": "1",
      "ce-source": "/here",
      "ce-type": "a.b",
      "ce-subject": "%C3%A4%20%22b%22%2050%25",
      "ce-count": "3",
      "ce-flag": "true",
      "content-type": "application/json",
      "content-length": "9",
      "x-other": "kept",
    }, '{"a":[1]}']);
  });

  const data: readonly (readonly [string, Record<string, unknown>, string | undefined])[] = [
    ["none", {}, undefined],
    ["text", { data: "a b", datacontenttype: "text/plain" }, "a b"],
    ["text that is JSON", { data: "a b" }, '"a b"'],
    ["null", { data: null }, "null"],
    ["bytes", { data_base64: "AGE=", datacontenttype: "application/octet-stream" }, "\0a"],
  ];
  for (const [name, more, wanted] of data) {
    it(`hands on data: ${name}`, async () => {
      const [request] = await read({ ...event, ...more });
      assert.ok(request !== undefined);
      assert.equal((await shown(request))[1], wanted);
    });
  }

  it("takes a batch apart, also an empty one", async () => {
    const requests = await read([event, { ...event, id: "2" }], batch);
    assert.deepEqual(requests.map(({ headers }) => headers.get("ce-id")), ["1", "2"]);
    assert.deepEqual(await read([], batch), []);
  });

  const wrong: readonly (readonly [string, unknown, string | undefined, RegExp])[] = [
    ["no JSON", "{", undefined, /no JSON/],
    ["another version", { ...event, specversion: "0.3" }, undefined, /"specversion" is "0.3": wanted "1.0"/],
    ["no id", { ...event, id: undefined }, undefined, /"id" is missing/],
    ["an empty source", { ...event, source: "" }, undefined, /"source".*at least one character/],
    ["a time that is none", { ...event, time: "yesterday" }, undefined, /"time".*RFC 3339/],
    ["a name with capitals", { ...event, Name: "a" }, undefined, /lower-case letters/],
    ["an attribute that is an object", { ...event, a: {} }, undefined, /"a"/],
    ["data twice", { ...event, data: 1, data_base64: "AA==" }, undefined, /want one/],
    ["a wrong one among others", [event, { ...event, type: 1 }], batch, /"1.type"/],
    ["no batch", event, batch, /Array/],
    [
      "another format",
      "<event/>",
      "application/cloudevents+xml",
      /its format is .*want application\/cloudevents\+json/,
    ],
  ];
  for (const [name, value, type, message] of wrong) {
    it(`refuses ${name}`, async () => {
      await assert.rejects(read(value, type), { code: "invalid_argument", message });
    });
  }

  it("refuses data that is nested more deeply than the host can write", async () => {
    const depth = 1_000_000;
    const text = `{"specversion":"1.0","id":"1","source":"/a","type":"b","data":${"[".repeat(depth)}${
      "]".repeat(depth)
    }}`;
    const headers = new Headers({ "content-type": "application/cloudevents+json" });
    const body = new Blob([text]).stream();
    // Not every host finds this too deep.
    const told = await eventsOf({ headers, body } as InvocationRequest)
      .then(([request]) => request?.headers.get("content-length"), codeOf);
    assert.ok([String(2 * depth), "invalid_argument"].includes(told ?? ""), String(told));
  });

  it("refuses a binary event without its attributes", async () => {
    const headers = new Headers({ "ce-specversion": "1.0", "ce-id": "1", "ce-type": "a" });
    await assert.rejects(eventsOf({ headers, body: null } as InvocationRequest), { message: /"source" is missing/ });
  });
});
