import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { urlAnswer, urlEvent } from "../../../src/api/lambda/url_event.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("urlEvent()", () => {
  const request = {
    method: "POST",
    path: "/a%20b/c",
    query: "x=1&y=2&x=3",
    headers: new Headers({
      host: "example.org:8080",
      cookie: "a=1; b=2",
      "content-type": "text/plain",
      "user-agent": "u",
    }),
    address: "10.0.0.1",
    body: bytes("hé"),
  };

  it("has what AWS Lambda's has", () => {
    const { requestContext, ...event } = urlEvent(request, new Date(1_584_039_838_000)) as Record<string, unknown>;
    assert.deepEqual(event, {
      version: "2.0",
      routeKey: "$default",
      rawPath: "/a%20b/c",
      rawQueryString: "x=1&y=2&x=3",
      cookies: ["a=1", "b=2"],
      headers: { host: "example.org:8080", "content-type": "text/plain", "user-agent": "u" },
      queryStringParameters: { x: "1,3", y: "2" },
      body: "hé",
      isBase64Encoded: false,
    });
    const { requestId: _, ...context } = requestContext as Record<string, unknown>;
    assert.deepEqual(context, {
      accountId: "anonymous",
      apiId: "mayfly",
      domainName: "example.org",
      domainPrefix: "example",
      http: { method: "POST", path: "/a%20b/c", protocol: "HTTP/1.1", sourceIp: "10.0.0.1", userAgent: "u" },
      routeKey: "$default",
      stage: "$default",
      time: "12/Mar/2020:19:03:58 +0000",
      timeEpoch: 1_584_039_838_000,
    });
  });

  it("gives what is no text in base64", () => {
    for (
      const [type, body, given] of [
        ["image/png", bytes("a"), "YQ=="],
        ["text/plain", Uint8Array.of(0xff), "/w=="],
        ["application/problem+json", bytes("{}"), undefined],
      ] as const
    ) {
      const event = urlEvent({ ...request, headers: new Headers({ "content-type": type }), body }, new Date());
      const { body: shown, isBase64Encoded } = event as { body: string; isBase64Encoded: boolean };
      assert.deepEqual([isBase64Encoded, isBase64Encoded ? shown : undefined], [given !== undefined, given], type);
    }
  });
});

describe("urlAnswer()", () => {
  const text = async ({ body }: { readonly body: BodyInit }) => await new Response(body).text();

  it("takes a head where there is one", async () => {
    const answer = urlAnswer(
      bytes(JSON.stringify({
        statusCode: 418,
        headers: { "X-A": 1, "Content-Length": "9", "content-type": "text/plain" },
        cookies: ["a=1; Secure", "b=2"],
        body: "aGk=",
        isBase64Encoded: true,
      })),
      "application/json",
    );
    assert.deepEqual([answer.status, await text(answer)], [418, "hi"]);
    assert.deepEqual([...answer.headers].sort(), [
      ["content-type", "text/plain"],
      ["set-cookie", "a=1; Secure"],
      ["set-cookie", "b=2"],
      ["x-a", "1"],
    ]);
  });

  it("gives anything else as it is", async () => {
    for (const given of ['{"a":1}', '"text"', "null", "[1]"]) {
      const answer = urlAnswer(bytes(given), "application/json");
      assert.deepEqual([answer.status, await text(answer)], [200, given]);
    }
    assert.equal(urlAnswer(bytes("no json"), "text/plain").headers.get("content-type"), "text/plain");
  });

  it("throws at what begins to be an answer, and is none", () => {
    for (
      const given of [
        { statusCode: 99 },
        { statusCode: 101 },
        { statusCode: "x" },
        { statusCode: 200, body: {} },
        { statusCode: 200, headers: { "a b": "c" } },
        { statusCode: 200, body: "*", isBase64Encoded: true },
      ]
    ) assert.throws(() => urlAnswer(bytes(JSON.stringify(given)), "application/json"), JSON.stringify(given));
  });
});
