import {
  CreateAliasCommand,
  CreateFunctionCommand,
  CreateFunctionUrlConfigCommand,
  type CreateFunctionUrlConfigCommandInput,
  DeleteFunctionUrlConfigCommand,
  GetFunctionUrlConfigCommand,
  LambdaClient,
  LambdaServiceException,
  ListFunctionUrlConfigsCommand,
  PublishVersionCommand,
  UpdateFunctionConfigurationCommand,
  UpdateFunctionUrlConfigCommand,
} from "@aws-sdk/client-lambda";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

const token = "a-token-of-the-administrator";

describe("a function's URL", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-function-url-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const create = (FunctionName: string, script: string) =>
    client.send(
      new CreateFunctionCommand({
        FunctionName,
        Role: "any",
        PackageType: "Image",
        Code: { ImageUri: "box:1" },
        ImageConfig: { EntryPoint: ["/bin/sh", "-c"], Command: [script] },
        Environment: { Variables: { A: "one" } },
        Tags: { "mayfly.protocol": "stdio" },
      }),
    );
  const url = async (FunctionName: string, more: Partial<CreateFunctionUrlConfigCommandInput> = {}) => {
    const made = await client.send(new CreateFunctionUrlConfigCommand({ FunctionName, AuthType: "NONE", ...more }));
    return made.FunctionUrl ?? "";
  };
  const refused = async (work: Promise<unknown>): Promise<[string, number | undefined]> => {
    const error = await work.then(() => assert.fail("it was not refused"), (error: unknown) => error);
    if (!(error instanceof LambdaServiceException)) throw error;
    return [error.name, error.$metadata.httpStatusCode];
  };

  before(async () => {
    const flags = ["--log-level", "warn", "--admin-tcp"];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    await commandsOn(folder).out("import", makeBusyboxImage(folder, "box:1"));
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing", sessionToken: token },
    });
    await create("echo", "cat");
    await create("teapot", `printf '{"statusCode":418,"headers":{"x-a":"'$A'"},"cookies":["c=1"],"body":"short"}'`);
    await create("bad", `printf '{"statusCode":9}'`);
    await create("fails", "exit 3");
  });
  after(async () => {
    client.destroy();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("gives requests as events, and takes answers with status, header fields and cookies", async () => {
    const echo = await url("echo");
    assert.equal(echo, `${daemon.url}/lambda-url/echo/`);
    const answer = await fetch(`${echo}a/b?c=d`, {
      method: "PUT",
      headers: { authorization: "mine", "content-type": "text/plain" },
      body: "hello",
    });
    const event = await answer.json();
    assert.deepEqual(
      [event.version, event.rawPath, event.rawQueryString, event.body, event.headers.authorization],
      ["2.0", "/a/b", "c=d", "hello", "mine"],
    );
    assert.equal(event.requestContext.http.method, "PUT");
    assert.match(event.requestContext.http.sourceIp, /127\.0\.0\.1$/);
    const teapot = await fetch(await url("teapot"));
    assert.deepEqual(
      [teapot.status, teapot.headers.get("x-a"), teapot.headers.getSetCookie(), await teapot.text()],
      [418, "one", ["c=1"], "short"],
    );
    assert.ok(teapot.headers.has("x-mayfly-invocation"));
    for (const name of ["bad", "fails"]) {
      const failed = await fetch(await url(name));
      assert.deepEqual([failed.status, await failed.json()], [502, { Message: "Internal Server Error" }], name);
      assert.ok(failed.headers.has("x-mayfly-invocation"), name);
    }
    assert.equal((await fetch(`${daemon.url}/lambda-url/nobody/`)).status, 404);
  });

  it("is shown, changed and removed", async () => {
    const FunctionName = "teapot";
    assert.deepEqual(await refused(url(FunctionName)), ["ResourceConflictException", 409]);
    const shown = await client.send(new GetFunctionUrlConfigCommand({ FunctionName }));
    assert.deepEqual([shown.AuthType, shown.InvokeMode], ["NONE", "BUFFERED"]);
    await client.send(new PublishVersionCommand({ FunctionName }));
    const { Version } = await client.send(new PublishVersionCommand({ FunctionName }));
    await client.send(new CreateAliasCommand({ FunctionName, Name: "live", FunctionVersion: Version }));
    await client.send(
      new UpdateFunctionConfigurationCommand({ FunctionName, Environment: { Variables: { A: "two" } } }),
    );
    const live = await url(FunctionName, { Qualifier: "live" });
    assert.equal((await fetch(live)).headers.get("x-a"), "one");
    assert.equal((await fetch(shown.FunctionUrl ?? "")).headers.get("x-a"), "two");
    assert.deepEqual(await refused(url(FunctionName, { Qualifier: "none" })), ["ResourceNotFoundException", 404]);
    const list = await client.send(new ListFunctionUrlConfigsCommand({ FunctionName }));
    assert.deepEqual(list.FunctionUrlConfigs?.map(({ FunctionUrl }) => FunctionUrl), [shown.FunctionUrl, live]);

    await client.send(new UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: "AWS_IAM" }));
    const closed = await fetch(shown.FunctionUrl ?? "");
    assert.deepEqual([closed.status, closed.headers.get("x-amzn-errortype")], [403, "UnrecognizedClientException"]);
    const open = await fetch(shown.FunctionUrl ?? "", { headers: { authorization: `Bearer ${token}` } });
    assert.equal(open.status, 418);
    assert.equal((await fetch(live)).status, 418);
    await client.send(new DeleteFunctionUrlConfigCommand({ FunctionName }));
    assert.equal((await fetch(shown.FunctionUrl ?? "")).status, 404);
    const gone = new GetFunctionUrlConfigCommand({ FunctionName });
    assert.deepEqual(await refused(client.send(gone)), ["ResourceNotFoundException", 404]);
  });

  it("stays, whoever deploys the function anew", async () => {
    const { out } = commandsOn(folder);
    await create("echo-again", "cat");
    const made = await url("echo-again");
    const deploy = (...flags: readonly string[]) =>
      out("deploy", "echo-again", "--image", "box:1", "--annotation", "own=note", ...flags, "--", "echo", "{}");
    await deploy();
    assert.equal((await fetch(made)).status, 200);
    const { annotations } = await (await daemon.admin("GET", "/v1/functions/echo-again")).json();
    assert.equal(annotations.own, "note");
    // It opens nothing that wants a token.
    await deploy("--auth", "token");
    assert.equal((await fetch(made)).status, 403);
    await client.send(new DeleteFunctionUrlConfigCommand({ FunctionName: "echo-again" }));
    await deploy();
    assert.equal((await fetch(made)).status, 404);
  });

  it("lets pages use it as its CORS settings say", async () => {
    const Cors = { AllowOrigins: ["https://app.example"], AllowMethods: ["POST"], MaxAge: 30, AllowCredentials: true };
    await client.send(new UpdateFunctionUrlConfigCommand({ FunctionName: "echo", Cors }));
    const echo = `${daemon.url}/lambda-url/echo/`;
    const origin = "https://app.example";
    const asked = await fetch(echo, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "PATCH" },
    });
    const of = (answer: Response, name: string) => answer.headers.get(`access-control-${name}`);
    assert.deepEqual(
      ["allow-origin", "allow-methods", "max-age", "allow-credentials"].map((name) => of(asked, name)),
      [origin, "POST", "30", "true"],
    );
    const answer = await fetch(echo, { method: "POST", headers: { origin }, body: "x" });
    assert.deepEqual([answer.status, of(answer, "allow-origin")], [200, origin]);
    const other = await fetch(echo, { method: "POST", headers: { origin: "https://other.example" }, body: "x" });
    assert.equal(other.status, 403);
  });

  it("streams, with a head in front where the answer says so", async () => {
    await create("stream", "printf later; sleep 0.1; printf ' and more'");
    const answer = await fetch(await url("stream", { InvokeMode: "RESPONSE_STREAM" }));
    assert.deepEqual([answer.status, await answer.text()], [200, "later and more"]);
  });
});
