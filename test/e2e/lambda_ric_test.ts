import { InvokeCommand, InvokeWithResponseStreamCommand, LambdaClient } from "@aws-sdk/client-lambda";
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { lambdaRic } from "../support/lambda_ric.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

const program = `
let n = 0;
export const handler = async (event, context) => {
  n++;
  if (event.fail) throw new TypeError("it is broken");
  if (event.exit) process.exit(5);
  if (event.large) return "x".repeat(7 * 1024 * 1024);
  const { awsRequestId: id, memoryLimitInMB: memory, clientContext: client } = context;
  return { n, event, id, memory, client, inTime: context.getRemainingTimeInMillis() > 0 };
};
export const streaming = awslambda.streamifyResponse(async (event, out) => {
  out.write("one ");
  if (event.fail) throw new RangeError("midway");
  out.write("two");
  out.end();
});
`;

describe("AWS's own runtime client", () => {
  const skip = lambdaRic.lacking ?? false;
  const folder = mkdtempSync(join(tmpdir(), "mayfly-ric-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const { out } = commandsOn(folder);
  const mounts = {
    // The machine's own libraries, in place of an image of some hundred megabytes.
    "/usr": "/usr",
    "/lib": "/lib",
    "/lib64": "/lib64",
    [join(folder, "task")]: "/var/task",
    [fileURLToPath(new URL("../../node_modules/node/bin", import.meta.url))]: "/opt/node",
    [lambdaRic.modules]: "/opt/node_modules",
  };
  const deploy = (name: string, handler: string, ...flags: readonly string[]) =>
    out(
      "deploy",
      name,
      ...["--image", "box:1", "--protocol", "lambda", "--memory", "512m", "--workdir", "/var/task"],
      ...Object.entries(mounts).flatMap(([source, target]) => ["-v", `${source}:${target}:ro`]),
      ...flags,
      ...["--entrypoint", "--", "/bin/sh", "-c", 'exec "$0" "$@"', "/opt/node/node"],
      ...["/opt/node_modules/aws-lambda-ric/index.mjs", handler],
    );
  const invoke = async (FunctionName: string, event: unknown) => {
    const ClientContext = btoa('{"custom":{"a":"b"}}');
    const command = new InvokeCommand({ FunctionName, Payload: JSON.stringify(event), ClientContext });
    const answer = await client.send(command);
    const value = JSON.parse(answer.Payload?.transformToString() ?? "");
    return { value, error: answer.FunctionError, id: answer.$metadata.requestId };
  };
  const stream = async (event: unknown) => {
    const command = new InvokeWithResponseStreamCommand({ FunctionName: "stream", Payload: JSON.stringify(event) });
    let text = "";
    let error: string | undefined;
    for await (const { PayloadChunk, InvokeComplete } of (await client.send(command)).EventStream ?? []) {
      text += new TextDecoder().decode(PayloadChunk?.Payload);
      error = InvokeComplete?.ErrorCode;
    }
    return [text, error];
  };

  before(async () => {
    if (skip) return;
    mkdirSync(join(folder, "task"));
    writeFileSync(join(folder, "task/app.mjs"), program);
    daemon = await MayflyProcess.start(folder, ["--log-level", "error"]);
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing" },
    });
    await out("import", makeBusyboxImage(folder, "box:1"));
    await deploy("fresh", "app.handler");
    await deploy("kept", "app.handler", "--reuse", "--max-instances", "1");
    await deploy("stream", "app.streaming");
    await deploy("missing", "nowhere.handler");
  });
  after(async () => {
    if (!skip) {
      client.destroy();
      assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    }
    rmSync(folder, { recursive: true, force: true });
  });

  it("runs as it is, in a fresh container or in one that is used again", { skip }, async () => {
    for (const [name, counts] of [["fresh", [1, 1]], ["kept", [1, 2]]] as const) {
      for (const n of counts) {
        const { value, id } = await invoke(name, { a: "ä" });
        const client = { custom: { a: "b" } };
        assert.deepEqual(value, { n, event: { a: "ä" }, id, memory: "512", client, inTime: true });
      }
    }
  });

  it("tells of its failures", { skip }, async () => {
    const { value, error } = await invoke("kept", { fail: true });
    assert.deepEqual([value.errorType, value.errorMessage, error], ["TypeError", "it is broken", "Unhandled"]);
    assert.equal((await invoke("kept", { large: true })).value.errorType, "Function.ResponseSizeTooLarge");
    assert.equal((await invoke("kept", {})).value.n, 5);
    assert.equal((await invoke("fresh", { exit: true })).value.errorType, "Runtime.ExitError");
    assert.equal((await invoke("missing", {})).value.errorType, "Runtime.ImportModuleError");
  });

  it("streams", { skip }, async () => {
    assert.deepEqual(await stream({}), ["one two", undefined]);
    assert.deepEqual(await stream({ fail: true }), ["one ", "RangeError"]);
  });
});
