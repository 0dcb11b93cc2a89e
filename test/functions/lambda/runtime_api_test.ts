import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../../src/core/errors.ts";
import { maxResponseBytes, RuntimeApi, type RuntimeEvent } from "../../../src/functions/lambda/runtime_api.ts";

const { signal } = new AbortController();
const bytes = (text: string) => new TextEncoder().encode(text);
const event = (id: string): RuntimeEvent => ({
  id,
  payload: bytes(`{"of":"${id}"}`),
  deadlineMs: 1_800_000_000_000,
  functionArn: "arn:aws:lambda:us-east-1:000000000000:function:one",
  traceId: "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
});

async function ask(api: RuntimeApi, method: string, path: string, body?: BodyInit, headers: HeadersInit = {}) {
  const url = `http://127.0.0.1:9001/2018-06-01/${path}`;
  const answer = await api.fetch(new Request(url, { method, headers, ...(body !== undefined && { body }) }));
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, type: /"errorType":"([^"]*)"/.exec(text)?.[1] };
}
const next = (api: RuntimeApi) => ask(api, "GET", "runtime/invocation/next");

/** The failure that an invocation ends with. */
async function failure(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(() => assert.fail("it did not fail"), (error: unknown) => error);
  assert.ok(error instanceof Failure);
  return error;
}

describe("RuntimeApi", () => {
  it("gives events one after the other, and takes their answers", async () => {
    const api = new RuntimeApi();
    const waiting = next(api);
    await api.ready;
    for (const id of ["first", "second"]) {
      const answer = api.invoke({ ...event(id), clientContext: '{"a":1}' }, signal);
      const got = id === "first" ? await waiting : await next(api);
      assert.equal(got.status, 200);
      assert.equal(got.text, `{"of":"${id}"}`);
      assert.deepEqual(
        ["aws-request-id", "deadline-ms", "invoked-function-arn", "trace-id", "client-context", "cognito-identity"]
          .map((name) => got.headers.get(`lambda-runtime-${name}`)),
        [id, "1800000000000", event(id).functionArn, event(id).traceId, '{"a":1}', null],
      );
      const headers = { "content-type": "application/json" };
      const said = await ask(api, "POST", `runtime/invocation/${id}/response`, `"${id}!"`, headers);
      assert.deepEqual([said.status, said.text], [202, '{"status":"OK"}']);
      const { payload, contentType } = await answer;
      assert.deepEqual([await new Response(payload).text(), contentType], [`"${id}!"`, "application/json"]);
    }
  });

  it("keeps an event for a runtime that has not asked yet, and for one that went away while it waited", async () => {
    const api = new RuntimeApi();
    const gone = new AbortController();
    const url = "http://127.0.0.1/2018-06-01/runtime/invocation/next";
    const first = api.fetch(new Request(url, { signal: gone.signal }));
    await api.ready;
    assert.equal((await next(api)).type, "InvalidStateTransition");
    gone.abort();
    assert.equal((await first).status, 500);
    const answer = api.invoke(event("a"), signal);
    assert.equal((await next(api)).text, '{"of":"a"}');
    assert.equal((await next(api)).status, 403);
    await ask(api, "POST", "runtime/invocation/a/response");
    assert.equal(await new Response((await answer).payload).text(), "");
  });

  it("reads one answer at a time, until it breaks off", async () => {
    const api = new RuntimeApi();
    const answer = api.invoke(event("a"), signal);
    await next(api);
    const path = "runtime/invocation/a/response";
    let sending: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (sending = controller) });
    const init = { method: "POST", body, duplex: "half" };
    const first = api.fetch(new Request(`http://127.0.0.1/2018-06-01/${path}`, init));
    const second = await ask(api, "POST", path, "2");
    assert.deepEqual([second.status, second.type], [403, "InvalidStateTransition"]);
    sending?.error(new Error("it broke off"));
    await assert.rejects(first);
    assert.equal((await ask(api, "POST", path, "3")).status, 202);
    assert.equal(await new Response((await answer).payload).text(), "3");
  });

  it("reports what the function, or the runtime, says went wrong", async () => {
    for (
      const [body, headers, type, message] of [
        ['{"errorType":"TypeError","errorMessage":"x is 1","stackTrace":["a"]}', {}, "TypeError", "x is 1"],
        ["{}", { "lambda-runtime-function-error-type": "Function.NoSuchHandler" }, "Function.NoSuchHandler", ""],
        ["plain", { "lambda-runtime-function-error-type": "no type" }, "Runtime.Unknown", "plain"],
      ] as const
    ) {
      const api = new RuntimeApi();
      const failed = failure(api.invoke(event("a"), signal));
      await next(api);
      assert.equal((await ask(api, "POST", "runtime/invocation/a/error", body, headers)).status, 202);
      const { message: told, details } = await failed;
      assert.equal(told, `the function failed: ${type}: ${message}`);
      assert.equal(details?.["reason"], "function_error");
      const sent = body.startsWith('{"e') ? JSON.parse(body) : { errorType: type, errorMessage: message };
      assert.deepEqual(details?.["functionError"], sent);
    }
  });

  it("reports that a runtime cannot begin", async () => {
    const api = new RuntimeApi();
    const failed = failure(api.ready);
    const error = '{"errorType":"Runtime.ImportModuleError","errorMessage":"no index"}';
    assert.equal((await ask(api, "POST", "runtime/init/error", error)).status, 202);
    const { message, details } = await failed;
    assert.equal(message, "the function could not be initialized: Runtime.ImportModuleError: no index");
    assert.equal(details?.["phase"], "init");

    const begun = new RuntimeApi();
    next(begun);
    await begun.ready;
    assert.equal((await ask(begun, "POST", "runtime/init/error", error)).type, "InvalidStateTransition");
    begun.close(new Failure("unavailable", "over"));
  });

  it("hands on what is streamed as it comes, and the error behind its end", async () => {
    for (const fails of [false, true]) {
      const api = new RuntimeApi();
      const answer = api.invoke(event("a"), signal);
      await next(api);
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
      const trailers: Record<string, string> = fails
        ? {
          "lambda-runtime-function-error-type": "TypeError",
          "lambda-runtime-function-error-body": btoa('{"errorType":"TypeError","errorMessage":"late"}'),
        }
        : {};
      const headers = { "lambda-runtime-function-response-mode": "streaming", "content-type": "text/x" };
      const url = "http://127.0.0.1/2018-06-01/runtime/invocation/a/response";
      const init = { method: "POST", headers, body: readable, duplex: "half" } as const;
      const said = api.fetch(new Request(url, init), () => new Headers(trailers));
      const writer = writable.getWriter();
      const { payload, contentType } = await answer;
      assert.ok(payload instanceof ReadableStream && contentType === "text/x");
      const reader = payload.getReader();
      for (const part of ["one", "two"]) {
        void writer.write(bytes(part));
        assert.equal(new TextDecoder().decode((await reader.read()).value), part);
      }
      void writer.close();
      if (fails) assert.equal((await failure(reader.read())).message, "the function failed: TypeError: late");
      else assert.equal((await reader.read()).done, true);
      assert.equal((await said).status, 202);
    }
  });

  it("refuses an answer of too many bytes, and tells who has asked", async () => {
    const api = new RuntimeApi();
    const failed = failure(api.invoke(event("a"), signal));
    await next(api);
    const large = new Uint8Array(maxResponseBytes + 1);
    const said = await ask(api, "POST", "runtime/invocation/a/response", large);
    assert.deepEqual([said.status, said.type], [413, "RequestEntityTooLarge"]);
    assert.match((await failed).message, /Function.ResponseSizeTooLarge: Response payload size exceeded/);
    assert.equal((await ask(api, "POST", "runtime/invocation/a/error", "{}")).type, "InvalidRequestID");
  });

  it("refuses an answer to what was not asked, and does not let its caller wait", async () => {
    const api = new RuntimeApi();
    const first = api.invoke(event("a"), signal);
    assert.equal((await ask(api, "POST", "runtime/invocation/a/response")).type, "InvalidRequestID");
    await next(api);
    await ask(api, "POST", "runtime/invocation/a/response", "1");
    await first;
    const failed = failure(api.invoke(event("b"), signal));
    await next(api);
    assert.equal((await ask(api, "POST", "runtime/invocation/a/response", "1")).status, 400);
    assert.equal((await ask(api, "POST", "runtime/invocation/zzz/response", "1")).status, 400);
    assert.match((await failed).message, /Runtime.InvalidRequestId: the runtime has answered invocation "zzz"/);
  });

  it("ends with its caller, and with its container", async () => {
    const api = new RuntimeApi();
    const gone = new AbortController();
    const left = failure(api.invoke(event("a"), gone.signal));
    await next(api);
    gone.abort(new Failure("deadline_exceeded", "late"));
    assert.equal((await left).message, "late");
    const failed = failure(api.invoke(event("b"), signal));
    const waiting = next(api).then(() => next(api));
    api.close(new Failure("failed_precondition", "died"));
    assert.equal((await failed).message, "died");
    assert.ok((await waiting).status >= 400);
    assert.equal((await failure(api.invoke(event("c"), signal))).message, "died");
    const never = new RuntimeApi();
    never.close(new Failure("failed_precondition", "died"));
    assert.equal((await failure(never.ready)).message, "died");
  });

  it("knows its paths and methods", async () => {
    const api = new RuntimeApi();
    assert.equal((await ask(api, "GET", "ping")).text, "pong");
    assert.equal((await ask(api, "POST", "runtime/invocation/next", "")).type, "MethodNotAllowed");
    assert.equal((await ask(api, "GET", "runtime/invocation/a/response")).status, 405);
    for (const path of ["", "runtime", "runtime/invocation/", "runtime/invocation/a/b/response", "restore/next"]) {
      assert.equal((await ask(api, "GET", path)).type, "UnknownPath", path);
    }
  });
});
