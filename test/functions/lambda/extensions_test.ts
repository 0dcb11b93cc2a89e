import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Failure } from "../../../src/core/errors.ts";
import { Extensions } from "../../../src/functions/lambda/extensions.ts";

const failures: Failure[] = [];
const open = (external: readonly string[] = ["one"]) =>
  new Extensions({
    external,
    functionName: "f",
    handler: "app.handler",
    onFailure: (failure) => void failures.push(failure),
  });

async function ask(
  api: Extensions,
  method: string,
  path: string,
  headers: HeadersInit = {},
  body?: string,
  signal?: AbortSignal,
) {
  const init = { method, headers, ...(body !== undefined && { body }), ...(signal && { signal }) };
  const answer = await api.fetch(new Request(`http://127.0.0.1:9001${path}`, init));
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, type: /"errorType":"([^"]*)"/.exec(text)?.[1] };
}
const base = "/2020-01-01/extension";
const register = (api: Extensions, name = "one", body = '{"events":["INVOKE"]}', headers = {}) =>
  ask(api, "POST", `${base}/register`, { "lambda-extension-name": name, ...headers }, body);
const next = (api: Extensions, id: string, signal?: AbortSignal) =>
  ask(api, "GET", `${base}/event/next`, { "lambda-extension-identifier": id }, undefined, signal);
const event = { id: "a", deadlineMs: 5, functionArn: "arn", traceId: "Root=1" };

describe("Extensions", () => {
  it("are idle when each has registered and asked", async () => {
    const api = open();
    let idle = false;
    const waiting = api.idle(AbortSignal.timeout(10_000)).then(() => idle = true);
    assert.deepEqual(api.missing, ["one"]);
    const { status, headers, text } = await register(api, "one", '{"events":["INVOKE"]}', {
      "lambda-extension-accept-feature": "accountId",
    });
    assert.deepEqual([status, JSON.parse(text)], [200, {
      functionName: "f",
      functionVersion: "$LATEST",
      handler: "app.handler",
      accountId: "000000000000",
    }]);
    const id = headers.get("lambda-extension-identifier") ?? "";
    assert.equal(idle, false);
    const asked = next(api, id);
    await waiting;
    api.invoke(event);
    const told = await asked;
    assert.deepEqual(JSON.parse(told.text), {
      eventType: "INVOKE",
      deadlineMs: 5,
      requestId: "a",
      invokedFunctionArn: "arn",
      tracing: { type: "X-Amzn-Trace-Id", value: "Root=1" },
    });
    assert.ok(told.headers.has("lambda-extension-event-identifier"));
    // It did not ask for the end: it is not told.
    api.shutDown(9);
    await assert.rejects(api.idle(AbortSignal.timeout(20)), { name: "TimeoutError" });
    assert.equal((await register(api, "late")).type, "Extension.RegistrationClosed");
    const last = next(api, id);
    api.close();
    assert.equal((await last).status, 500);
  });

  it("are refused what they may not", async () => {
    const api = open();
    const { headers } = await register(api);
    const id = headers.get("lambda-extension-identifier") ?? "";
    for (
      const [answer, status, type] of [
        [await register(api), 403, "Extension.AlreadyRegistered"],
        [await register(api, ""), 403, "Extension.InvalidExtensionName"],
        [await register(api, "two", "{"), 400, "InvalidRequestFormat"],
        [await register(api, "two", '{"events":["NOW"]}'), 400, "Extension.InvalidEventType"],
        [await register(api, "two", '{"events":["SHUTDOWN"]}'), 400, "ShutdownEventNotSupportedForInternalExtension"],
        [await ask(api, "GET", `${base}/event/next`), 403, "Extension.MissingExtensionIdentifier"],
        [await next(api, "x"), 403, "Extension.UnknownExtensionIdentifier"],
        [await ask(api, "POST", `${base}/event/next`), 405, "MethodNotAllowed"],
        [await ask(api, "GET", `${base}/nothing`), 404, "UnknownPath"],
        [
          await ask(api, "POST", `${base}/exit/error`, { "lambda-extension-identifier": id }),
          400,
          "Extension.MissingHeader",
        ],
        [await ask(api, "PUT", "/2022-07-01/telemetry", {}, "{}"), 202, "Telemetry.NotSupported"],
        [await ask(api, "PUT", "/2020-08-15/logs", {}, "{}"), 202, "Logs.NotSupported"],
      ] as const
    ) assert.deepEqual([answer.status, answer.type], [status, type]);
    const gone = new AbortController();
    const first = next(api, id, gone.signal);
    assert.equal((await next(api, id)).type, "Extension.InvalidExtensionState");
    gone.abort();
    assert.equal((await first).status, 500);
    for (let i = 2; i <= 10; i++) assert.equal((await register(api, `own-${i}`)).status, 200);
    assert.equal((await register(api, "own-11")).type, "Extension.TooManyExtensions");
  });

  it("tell of their failures", async () => {
    const api = open();
    const id = (await register(api)).headers.get("lambda-extension-identifier") ?? "";
    const headers = { "lambda-extension-identifier": id, "lambda-extension-function-error-type": "Extension.X" };
    assert.equal((await ask(api, "POST", `${base}/init/error`, headers, "why")).status, 202);
    api.ended("one", "exit status 3");
    const told = failures.splice(0).map(({ details }) =>
      (details?.["functionError"] as { errorType: string }).errorType
    );
    assert.deepEqual(told, ["Extension.X", "Extension.Crash"]);
    api.shutDown(0);
    api.ended("one", "exit status 0");
    assert.deepEqual(failures, []);
  });
});
