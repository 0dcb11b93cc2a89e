import {
  CreateAliasCommand,
  DeleteFunctionEventInvokeConfigCommand,
  GetFunctionEventInvokeConfigCommand,
  InvokeCommand,
  LambdaClient,
  LambdaServiceException,
  PublishVersionCommand,
  PutFunctionEventInvokeConfigCommand,
  UpdateFunctionEventInvokeConfigCommand,
} from "@aws-sdk/client-lambda";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const token = "a-token-of-the-administrator";
const arn = (name: string) => `arn:aws:lambda:eu-central-1:000000000000:function:${name}`;

/** What a destination has got. */
interface Told {
  readonly version: string;
  readonly timestamp: string;
  readonly requestContext: {
    readonly requestId: string;
    readonly functionArn: string;
    readonly condition: string;
    readonly approximateInvokeCount: number;
  };
  readonly requestPayload: unknown;
  readonly responseContext: { readonly executedVersion: string };
  readonly responsePayload: unknown;
}

interface Call {
  readonly id: string;
  readonly status: string;
}

describe("destinations of asynchronous invocations", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-destinations-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const { out } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", ...flags, "--", "sh", "-c", script);
  const calls = async (name: string) => {
    const answer = await daemon.admin("GET", `/v1/calls?function=${name}`);
    return (await answer.json() as { items: readonly Call[] }).items;
  };
  const event = async (FunctionName: string, payload: unknown = { a: 1 }) => {
    const sent = await client.send(
      new InvokeCommand({ FunctionName, InvocationType: "Event", Payload: JSON.stringify(payload) }),
    );
    return sent.$metadata.requestId ?? "";
  };
  const records = new Map<string, Told>();
  /** What a function that answers with what it is told was told of a call. */
  const told = (name: string, id: string) =>
    until(async () => {
      for (const call of await calls(name)) {
        if (call.status !== "succeeded") continue;
        let record = records.get(call.id);
        if (record === undefined) {
          record = await (await fetch(`${daemon.url}/async/calls/${call.id}/answer`)).json() as Told;
          records.set(call.id, record);
        }
        if (record.requestContext?.requestId === id) return record;
      }
      return undefined;
    });
  const tell = (FunctionName: string, success?: string, failure?: string) =>
    client.send(
      new PutFunctionEventInvokeConfigCommand({
        FunctionName,
        MaximumRetryAttempts: 1,
        DestinationConfig: {
          ...(success !== undefined && { OnSuccess: { Destination: success } }),
          ...(failure !== undefined && { OnFailure: { Destination: failure } }),
        },
      }),
    );

  const start = async () => {
    const flags = ["--log-level", "warn", "--admin-tcp", "--call-retry-ms", "20", "--max-call-bytes", "20000"];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    client?.destroy();
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing", sessionToken: token },
    });
  };

  before(async () => {
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
    await deploy("good", "cat");
    await deploy("bad", "exit 3");
    await deploy("listener", "cat");
    await deploy("mourner", "cat");
  });
  after(async () => {
    client.destroy();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("get a record of what has succeeded", async () => {
    const put = await tell("good", arn("listener"), arn("mourner"));
    assert.deepEqual(put.DestinationConfig, {
      OnSuccess: { Destination: arn("listener") },
      OnFailure: { Destination: arn("mourner") },
    });
    const id = await event("good");
    const { timestamp, ...record } = await told("listener", id);
    assert.ok(!Number.isNaN(Date.parse(timestamp)));
    assert.deepEqual(record, {
      version: "1.0",
      requestContext: {
        requestId: id,
        functionArn: "arn:aws:lambda:us-east-1:000000000000:function:good:$LATEST",
        condition: "Success",
        approximateInvokeCount: 1,
      },
      requestPayload: { a: 1 },
      responseContext: { statusCode: 200, executedVersion: "$LATEST" },
      responsePayload: { a: 1 },
    });
    assert.deepEqual(await calls("mourner"), []);
  });

  it("get a record of what has failed, with its error, behind the last attempt", async () => {
    await tell("bad", arn("listener"), arn("mourner"));
    const id = await event("bad", "x");
    const record = await told("mourner", id);
    assert.deepEqual(
      [record.requestContext.condition, record.requestContext.approximateInvokeCount, record.requestPayload],
      ["RetriesExhausted", 2, "x"],
    );
    assert.deepEqual(record.responseContext, {
      statusCode: 200,
      executedVersion: "$LATEST",
      functionError: "Unhandled",
    });
    assert.equal((record.responsePayload as { errorType: string }).errorType, "Runtime.ExitError");
  });

  it("are called by a version or an alias, and told which of them was", async () => {
    for (const FunctionName of ["good", "listener"]) {
      const { Version } = await client.send(new PublishVersionCommand({ FunctionName }));
      await client.send(new CreateAliasCommand({ FunctionName, Name: "live", FunctionVersion: Version }));
    }
    await deploy("listener", "cat >/dev/null; echo '\"another\"'");
    await tell("good", arn("listener:live"));
    const { DestinationConfig } = await client.send(new GetFunctionEventInvokeConfigCommand({ FunctionName: "good" }));
    assert.deepEqual(DestinationConfig, { OnSuccess: { Destination: arn("listener:live") }, OnFailure: {} });
    const { requestContext, responseContext } = await told("listener", await event("good:live"));
    assert.match(requestContext.functionArn, /:good:live$/);
    assert.match(responseContext.executedVersion, /^\d+$/);
  });

  it("are told without what was asked and answered where that is too much", async () => {
    const { requestPayload, responsePayload } = await told("listener", await event("good", "y".repeat(15_000)));
    assert.deepEqual([requestPayload, responsePayload], [null, null]);
  });

  it("are told of every call, whatever the daemon has been killed in", async () => {
    await tell("good", arn("mourner"));
    const ids = await Promise.all(Array.from({ length: 40 }, () => event("good")));
    await until(async () => (await calls("mourner")).length > 5);
    await daemon.end("SIGKILL");
    await start();
    for (const id of ids) await told("mourner", id);
  });

  it("end where functions name each other in a circle", async () => {
    await deploy("circle", "cat", "--on-success", "circle");
    await event("circle");
    await until(async () => /circle.*is not told: 16 calls have followed/.test(daemon.log()));
    assert.equal((await calls("circle")).length, 17);
  });

  it("are kept as failed calls where they are gone, and may be told again", async () => {
    await deploy("orphan", "cat", "--on-success", "later");
    await event("orphan");
    const { id } = await until(async () => (await calls("later")).find(({ status }) => status === "failed"));
    await deploy("later", "cat");
    await daemon.admin("POST", `/v1/calls/${id}/replay`);
    await until(async () => (await calls("later"))[0]?.status === "succeeded");
  });

  it("are functions of the same namespace, and are taken away again", async () => {
    for (
      const [destination, pattern] of [
        ["arn:aws:sns:eu-central-1:123456789012:topic", /wanted the ARN of a function/],
        [arn("nobody"), /no function "nobody"/],
        [arn("listener:gone"), /no revision "gone"/],
        [arn("listener.other"), /another namespace/],
        [arn("Wrong_Name"), /lower-case/],
      ] as const
    ) {
      const error = await tell("good", destination).then(() => undefined, (error: unknown) => error);
      assert.ok(error instanceof LambdaServiceException, destination);
      assert.equal(error.name, "InvalidParameterValueException", destination);
      assert.match(error.message, pattern);
    }
    const FunctionName = "good";
    const update = await client.send(
      new UpdateFunctionEventInvokeConfigCommand({
        FunctionName,
        DestinationConfig: { OnSuccess: {}, OnFailure: { Destination: arn("mourner") } },
      }),
    );
    assert.deepEqual(update.DestinationConfig, { OnSuccess: {}, OnFailure: { Destination: arn("mourner") } });
    await client.send(new DeleteFunctionEventInvokeConfigCommand({ FunctionName }));
    const { asyncOnFailure } = await (await daemon.admin("GET", "/v1/functions/good")).json();
    assert.equal(asyncOnFailure, undefined);
  });
});
