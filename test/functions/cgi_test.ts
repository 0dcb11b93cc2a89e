import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rootCaller } from "../../src/core/access.ts";
import { codeOf } from "../../src/core/errors.ts";
import { headerLimits, requestEnvironment } from "../../src/functions/cgi.ts";
import { reasonOf } from "../../src/functions/failures.ts";
import type { InvocationRequest } from "../../src/functions/request.ts";

const none = new Set<string>();

function request(change: Partial<InvocationRequest> & { readonly fields?: Record<string, string> } = {}) {
  const { fields, ...rest } = change;
  return {
    method: "POST",
    scriptName: "/fn/hello",
    path: "/a%20b/c",
    query: "x=1&y=%2F",
    headers: new Headers({ host: "example.org:8080", ...fields }),
    body: null,
    identify: () => Promise.resolve(rootCaller),
    client: { address: "192.0.2.7", port: 40000 },
    span: { context: undefined, set() {}, rename() {}, end() {} },
    signal: new AbortController().signal,
    ...rest,
  } satisfies InvocationRequest;
}

describe("requestEnvironment()", () => {
  it("names the request as RFC 3875 and the classic watchdog do", () => {
    assert.deepEqual(requestEnvironment(request({ fields: { "x-my-name": "Ada" } }), "01id", undefined, none), {
      GATEWAY_INTERFACE: "CGI/1.1",
      SERVER_SOFTWARE: "mayfly/0.1.0",
      SERVER_PROTOCOL: "HTTP/1.1",
      SERVER_NAME: "example.org",
      SERVER_PORT: "8080",
      REQUEST_METHOD: "POST",
      REQUEST_URI: "/fn/hello/a%20b/c?x=1&y=%2F",
      SCRIPT_NAME: "/fn/hello",
      REMOTE_ADDR: "192.0.2.7",
      REMOTE_HOST: "192.0.2.7",
      REMOTE_PORT: "40000",
      PATH_INFO: "/a b/c",
      QUERY_STRING: "x=1&y=%2F",
      MAYFLY_INVOCATION_ID: "01id",
      HTTP_HOST: "example.org:8080",
      HTTP_X_MY_NAME: "Ada",
      Http_Host: "example.org:8080",
      Http_Method: "POST",
      Http_Path: "/a b/c",
      Http_Query: "x=1&y=%2F",
      Http_X_My_Name: "Ada",
    });
  });

  it("gives a body's type and length their own variables", () => {
    const body = new ReadableStream<Uint8Array>();
    const fields = { "content-type": "text/plain", "content-length": "5" };
    const env = requestEnvironment(request({ body, fields }), "id", undefined, none);
    assert.equal(env["CONTENT_TYPE"], "text/plain");
    assert.equal(env["CONTENT_LENGTH"], "5");
    assert.equal(env["Http_Content_Type"], "text/plain");
    assert.equal(env["Http_Content_Length"], "5");
    assert.equal(env["Http_ContentLength"], "5");
    assert.equal(env["HTTP_CONTENT_TYPE"], undefined);
    assert.equal(env["HTTP_CONTENT_LENGTH"], undefined);
  });

  for (const field of ["proxy", "authorization", "proxy-authorization", "connection", "x_real_ip"]) {
    it(`withholds ${field}`, () => {
      const env = requestEnvironment(request({ fields: { [field]: "evil" } }), "id", undefined, none);
      assert.ok(!Object.values(env).includes("evil"));
    });
  }

  it("leaves a variable alone that the function sets", () => {
    const env = requestEnvironment(
      request({ fields: { "x-mode": "theirs" } }),
      "id",
      undefined,
      new Set(["HTTP_X_MODE"]),
    );
    assert.equal(env["HTTP_X_MODE"], undefined);
  });

  it("hands the trace on, and not the one that came", () => {
    const trace = { traceparent: "00-aa-bb-01", tracestate: "k=v" };
    const env = requestEnvironment(request({ fields: { traceparent: "00-cc-dd-01" } }), "id", trace, none);
    assert.equal(env["TRACEPARENT"], "00-aa-bb-01");
    assert.equal(env["TRACESTATE"], "k=v");
    assert.equal(env["HTTP_TRACEPARENT"], undefined);
  });

  it("restores text that was sent as UTF-8", () => {
    const bytes = String.fromCharCode(...new TextEncoder().encode("grün"));
    const env = requestEnvironment(request({ fields: { "x-color": bytes } }), "id", undefined, none);
    assert.equal(env["HTTP_X_COLOR"], "grün");
  });

  it("says of the client what is known", () => {
    const proxied = requestEnvironment(request({ client: { address: "2001:db8::1" } }), "id", undefined, none);
    assert.deepEqual([proxied["REMOTE_ADDR"], proxied["REMOTE_PORT"]], ["2001:db8::1", undefined]);
    assert.equal(requestEnvironment(request({ client: undefined }), "id", undefined, none)["REMOTE_ADDR"], undefined);
  });

  it("splits an IPv6 host", () => {
    const headers = new Headers({ host: "[::1]:9" });
    const env = requestEnvironment(request({ headers }), "id", undefined, none);
    assert.equal(env["SERVER_NAME"], "[::1]");
    assert.equal(env["SERVER_PORT"], "9");
  });

  for (const path of ["/%00", "/%ff", "/%zz"]) {
    it(`refuses the path ${path}`, () => {
      assert.throws(
        () => requestEnvironment(request({ path }), "id", undefined, none),
        (error) => codeOf(error) === "invalid_argument",
      );
    });
  }

  it("refuses more header fields than it passes on", () => {
    const many = Object.fromEntries(Array.from({ length: headerLimits.count }, (_, i) => [`x-${i}`, "1"]));
    const large = { "x-large": "x".repeat(headerLimits.bytes) };
    for (const fields of [many, large]) {
      assert.throws(
        () => requestEnvironment(request({ fields }), "id", undefined, none),
        (error) => reasonOf(error) === "headers_too_large",
      );
    }
  });
});
