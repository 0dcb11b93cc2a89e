import {
  CreateFunctionCommand,
  InvokeCommand,
  type InvokeCommandInput,
  InvokeWithResponseStreamCommand,
  LambdaClient,
} from "@aws-sdk/client-lambda";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { lambdaRuntime } from "../support/lambda_runtime.ts";
import { commandsOn, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const token = "a-token-of-the-administrator";

describe("containers of AWS Lambda", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-runtime-api-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const { out } = commandsOn(folder);
  const deploy = (name: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", "--protocol", "lambda", ...flags);
  const invoke = async (FunctionName: string, event: unknown, more: Partial<InvokeCommandInput> = {}) => {
    const answer = await client.send(
      new InvokeCommand({ FunctionName, Payload: JSON.stringify(event), LogType: "Tail", ...more }),
    );
    const text = answer.Payload?.transformToString() ?? "";
    return {
      text,
      error: answer.FunctionError,
      log: atob(answer.LogResult ?? ""),
      id: answer.$metadata.requestId ?? "",
    };
  };
  /** What a function's error is. */
  const failed = async (name: string, event: unknown) => {
    const { text, error, log } = await invoke(name, event);
    assert.equal(error, "Unhandled", text);
    const { errorType, errorMessage, ...more } = JSON.parse(text) as Record<string, unknown>;
    return { errorType, errorMessage: String(errorMessage), more, log };
  };
  const tasks = async () => {
    const answer = await daemon.admin("GET", "/v1/tasks");
    return (await answer.json() as { items: { id: string; pid: number }[] }).items;
  };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "error", "--call-retry-ms", "20", "--admin-tcp"], {
      MAYFLY_ADMIN_TOKEN: token,
    });
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing", sessionToken: token },
    });
    const config = { Entrypoint: ["sh", "-c", lambdaRuntime, "runtime"], Cmd: ["app.handler"] };
    await out("import", makeBusyboxImage(folder, "box:1", config));
    await deploy("one", "--timeout", "20s", "--env", "AWS_REGION=eu-north-1");
    await deploy("kept", "--reuse", "--max-instances", "1", "--timeout", "20s");
    await deploy("short", "--timeout", "300ms");
    for (const how of ["error", "exit", "hang"]) {
      await deploy(how, "--env", `INIT=${how}`, "--start-timeout", "2s");
    }
  });
  after(async () => {
    client.destroy();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("take one event each, in a fresh one", async () => {
    const event = { text: "hällo", deep: [{ a: 1 }] };
    const first = await invoke("one", event);
    assert.deepEqual([JSON.parse(first.text), first.error], [event, undefined]);
    assert.match(first.log, /^START RequestId: \S+ Version: \$LATEST\n[^]*event 1\nEND/);
    assert.deepEqual((await invoke("one", "count")).text.trim(), '{"n":1}');
    assert.deepEqual((await invoke("one", "count")).text.trim(), '{"n":1}');
    const answer = await fetch(`${daemon.url}/fn/one`, { method: "POST", body: '"by hand"' });
    assert.equal(await answer.text(), '"by hand"');
    assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
    assert.equal(answer.headers.get("x-mayfly-start"), "cold");
    assert.equal(await (await fetch(`${daemon.url}/fn/one`)).text(), "{}");
    await until(async () => (await tasks()).length === 0);
  });

  it("find their context in the environment and in what they are given", async () => {
    const { text, id } = await invoke("one", "context", { ClientContext: btoa('{"client":{"a":"\u00c3\u00a9"}}') });
    for (
      const pattern of [
        /^AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001$/m,
        /^AWS_LAMBDA_FUNCTION_NAME=one$/m,
        /^AWS_LAMBDA_FUNCTION_VERSION=\$LATEST$/m,
        /^AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256$/m,
        /^AWS_LAMBDA_LOG_GROUP_NAME=\/aws\/lambda\/one$/m,
        /^AWS_LAMBDA_LOG_STREAM_NAME=\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/m,
        /^AWS_REGION=eu-north-1$/m,
        /^LAMBDA_TASK_ROOT=\/var\/task$/m,
        /^_HANDLER=app.handler$/m,
        /^TZ=:UTC$/m,
        new RegExp(`^ *lambda-runtime-aws-request-id: ${id}\\s*$`, "mi"),
        /^ *lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-north-1:000000000000:function:one\s*$/mi,
        /^ *lambda-runtime-trace-id: Root=1-[0-9a-f]{8}-[0-9a-f]{24};/mi,
        /^ *lambda-runtime-client-context: \{"client":\{"a":"\\u00e9"\}\}\s*$/mi,
      ]
    ) assert.match(text, pattern);
    for (const [asked, told] of [["1", "1"], ["one-00001", "1"], ["latest", "\\$LATEST"]] as const) {
      const headers = { "x-mayfly-revision": asked };
      const answer = await fetch(`${daemon.url}/fn/one`, { method: "POST", body: '"context"', headers });
      assert.match(
        await answer.text(),
        new RegExp(`invoked-function-arn: arn:aws:lambda:eu-north-1:000000000000:function:one:${told}\\s*$`, "mi"),
      );
    }
    const deadline = Number(/lambda-runtime-deadline-ms: (\d+)/i.exec(text)?.[1]);
    assert.ok(deadline > Date.now() && deadline <= Date.now() + 20_000, String(deadline));
  });

  it("take one event after the other where they are to be used again, and never two at once", async () => {
    const counts = await Promise.all(Array.from({ length: 5 }, () => invoke("kept", "count")));
    assert.deepEqual(counts.map(({ text }) => JSON.parse(text).n).sort(), [1, 2, 3, 4, 5]);
    assert.equal((await tasks()).length, 1);
    assert.equal((await failed("kept", "fail")).errorType, "TypeError");
    const again = await fetch(`${daemon.url}/fn/kept`, { method: "POST", body: '"count"' });
    assert.equal((await again.json()).n, 7);
    assert.equal(again.headers.get("x-mayfly-start"), "warm");
    // Whoever dies is replaced.
    assert.equal(
      (await failed("kept", "exit")).errorMessage.split("Error: ")[1],
      "Runtime exited with error: exit status 3",
    );
    assert.equal(JSON.parse((await invoke("kept", "count")).text).n, 1);
  });

  it("tell their callers what went wrong", async () => {
    const { errorType, errorMessage, more, log } = await failed("one", "fail");
    assert.deepEqual([errorType, errorMessage, more], ["TypeError", "x is 1", { stackTrace: ["at a"] }]);
    assert.match(log, /event 1\nEND/);
    const answer = await fetch(`${daemon.url}/fn/one`, { method: "POST", body: '"fail"' });
    const problem = await answer.json();
    assert.equal(answer.status, 500);
    assert.equal(problem.type, "urn:mayfly:problem:function-error");
    assert.equal(problem.detail, "the function failed: TypeError: x is 1");
    assert.equal(problem.functionError, undefined);

    assert.equal((await failed("one", "exit")).errorType, "Runtime.ExitError");
    assert.match((await failed("one", "memory")).errorMessage, /Runtime exited with error: .*/);
    const large = await failed("one", "large");
    assert.equal(large.errorType, "Function.ResponseSizeTooLarge");
    const wrong = await failed("one", "wrong");
    assert.match(wrong.errorMessage, /the runtime has answered invocation "another", which it was not given/);
    assert.equal((await failed("short", "hang")).errorType, "Sandbox.Timedout");
    assert.match((await failed("one", "storm")).errorMessage, /more than 64 connections for one event/);
  });

  it("tell their callers why they did not begin", async () => {
    const error = await failed("error", {});
    assert.deepEqual([error.errorType, error.errorMessage], ["Function.NoModule", "no module"]);
    const exit = await failed("exit", {});
    assert.match(exit.errorMessage, /Runtime exited with error: exit status 7$/);
    const hang = await failed("hang", {});
    assert.match(hang.errorMessage, /was not ready within 2000 ms of its start: it did not ask for .*invocation\/next/);
    await until(async () => (await tasks()).every(({ pid }) => pid !== undefined));
  });

  it("stream their answers", async () => {
    const stream = async (FunctionName: string, event: unknown) => {
      const answer = await client.send(
        new InvokeWithResponseStreamCommand({ FunctionName, Payload: JSON.stringify(event), LogType: "Tail" }),
      );
      let text = "";
      let end: { ErrorCode?: string | undefined; ErrorDetails?: string | undefined; LogResult?: string | undefined } =
        {};
      for await (const { PayloadChunk, InvokeComplete } of answer.EventStream ?? []) {
        text += new TextDecoder().decode(PayloadChunk?.Payload);
        end = InvokeComplete ?? end;
      }
      return { text, ...end, log: atob(end.LogResult ?? "") };
    };
    for (const name of ["one", "kept"]) {
      const { text, ErrorCode, log } = await stream(name, "stream");
      assert.deepEqual([text, ErrorCode], ["onetwo", undefined]);
      assert.match(log, /^START [^]*END /);
      const late = await stream(name, "stream, late");
      assert.deepEqual([late.text, late.ErrorCode], ["one", "TypeError"]);
      assert.equal(JSON.parse(late.ErrorDetails ?? "").errorMessage, "late");
    }
    const torn = await stream("one", "stream, torn");
    assert.equal(torn.ErrorCode, "Runtime.ExitError");
    assert.equal("one".startsWith(torn.text), true);
    assert.equal((await stream("one", "as a whole")).text, '"as a whole"');
    assert.equal((await stream("one", "exit")).ErrorCode, "Runtime.ExitError");
    assert.equal((await stream("error", {})).ErrorCode, "Function.NoModule");

    assert.equal((await invoke("one", "stream")).text, "onetwo");
    assert.equal((await failed("one", "stream, late")).errorMessage, "late");
    const answer = await fetch(`${daemon.url}/fn/one`, { method: "POST", body: '"stream"' });
    assert.equal(await answer.text(), "onetwo");
    const broken = await fetch(`${daemon.url}/fn/one`, { method: "POST", body: '"stream, torn"' });
    if (broken.status === 200) await assert.rejects(broken.text());
    else assert.equal((await broken.json()).type, "urn:mayfly:problem:died");
  });

  it("can write to /tmp, whoever runs in them; and have a network of their own", async () => {
    for (const more of [["--user", "worker"], ["--userns", "auto"], ["--read-only"]]) {
      await deploy("other", ...more);
      assert.equal(JSON.parse((await invoke("other", "count")).text).n, 1, more.join(" "));
    }
    await daemon.admin("DELETE", "/v1/functions/other");
    const { code, stderr } = await mayfly([
      "deploy",
      ...stateFlags(folder),
      ...["other", "--image", "box:1", "--protocol", "lambda", "--network", "host"],
    ]);
    assert.notEqual(code, 0);
    assert.match(stderr, /cannot serve lambda: its containers need networks of their own/);
  });

  it("are what AWS's clients create", async () => {
    const Code = { ImageUri: "box:1" };
    await client.send(
      new CreateFunctionCommand({
        FunctionName: "created",
        Role: "arn:aws:iam::123456789012:role/any",
        PackageType: "Image",
        Code,
        ImageConfig: { Command: ["other.handler"] },
        Tags: { "mayfly.reuse": "true" },
      }),
    );
    assert.match((await invoke("created", "context")).text, /^_HANDLER=other.handler$/m);
    assert.equal(JSON.parse((await invoke("created", "count")).text).n, 2);
    await daemon.admin("DELETE", "/v1/functions/created");
  });

  it("run events that were accepted, and try them again where they fail", async () => {
    const answer = await client.send(
      new InvokeCommand({ FunctionName: "one", Payload: '"later"', InvocationType: "Event" }),
    );
    const id = answer.$metadata.requestId;
    const got = () => fetch(`${daemon.url}/async/calls/${id}/answer`);
    await until(async () => (await got()).status === 200);
    assert.equal(await (await got()).text(), '"later"');
    const bad = await client.send(
      new InvokeCommand({ FunctionName: "one", Payload: '"fail"', InvocationType: "Event" }),
    );
    const call = async () =>
      await (await fetch(`${daemon.url}/async/calls/${bad.$metadata.requestId}`)).json() as {
        status: string;
        attempts: number;
        error: string;
      };
    await until(async () => (await call()).status === "failed");
    assert.deepEqual([(await call()).attempts, (await call()).error], [3, "the function failed: TypeError: x is 1"]);
  });

  it("are ready before the request, each for one event", async () => {
    await deploy("ready", "--min-instances", "2");
    const ids = async () => (await tasks()).map(({ id }) => id);
    const before = await ids();
    const answer = await fetch(`${daemon.url}/fn/ready`, { method: "POST", body: '"count"' });
    assert.equal((await answer.json()).n, 1);
    assert.equal(answer.headers.get("x-mayfly-start"), "warm");
    const made = await until(async () => {
      const now = (await ids()).filter((id) => !before.includes(id));
      return now.length > 0 && now;
    });
    assert.equal(made.length, 1);
    await daemon.admin("DELETE", "/v1/functions/ready");
  });
});
