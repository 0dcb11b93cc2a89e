import {
  CreateAliasCommand,
  DeleteAliasCommand,
  DeleteProvisionedConcurrencyConfigCommand,
  GetAliasCommand,
  GetProvisionedConcurrencyConfigCommand,
  LambdaClient,
  LambdaServiceException,
  ListProvisionedConcurrencyConfigsCommand,
  PublishVersionCommand,
  PutProvisionedConcurrencyConfigCommand,
  UpdateAliasCommand,
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

describe("provisioned concurrency", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-provisioned-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const { out, run } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", ...flags, "--", "sh", "-c", script);
  const start = async () => {
    const flags = ["--log-level", "error", "--admin-tcp", "--max-prepared", "8"];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    client?.destroy();
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing", sessionToken: token },
    });
  };
  const publish = async (FunctionName: string, Name?: string): Promise<string> => {
    const { Version = "" } = await client.send(new PublishVersionCommand({ FunctionName }));
    if (Name !== undefined) {
      await client.send(new CreateAliasCommand({ FunctionName, Name, FunctionVersion: Version }));
    }
    return Version;
  };
  const put = (FunctionName: string, Qualifier: string, ProvisionedConcurrentExecutions: number) =>
    client.send(
      new PutProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier, ProvisionedConcurrentExecutions }),
    );
  const get = (FunctionName: string, Qualifier: string) =>
    client.send(new GetProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier }));
  const call = async (path: string) => {
    const answer = await fetch(`${daemon.url}/fn/${path}`, { method: "POST" });
    return { text: (await answer.text()).trim(), how: answer.headers.get("x-mayfly-start") };
  };
  const tasks = async (name: string) => {
    const answer = await daemon.admin("GET", "/v1/tasks");
    return (await answer.json() as { items: { function: string }[] }).items.filter((task) => task.function === name);
  };
  const refused = async (work: Promise<unknown>): Promise<[string, number | undefined, string]> => {
    const error = await work.then(() => assert.fail("it was not refused"), (error: unknown) => error);
    if (!(error instanceof LambdaServiceException)) throw error;
    return [error.name, error.$metadata.httpStatusCode, error.message];
  };

  before(async () => {
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
    await deploy("fresh", "echo one");
    await publish("fresh", "live");
    await deploy("fresh", "echo two");
    await publish("fresh");
  });
  after(async () => {
    client.destroy();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("is containers that wait, of a version that has no traffic, behind a restart too", async () => {
    const { $metadata: { httpStatusCode }, ...made } = await put("fresh", "live", 2);
    assert.equal(httpStatusCode, 202);
    assert.deepEqual(
      [made.RequestedProvisionedConcurrentExecutions, made.AvailableProvisionedConcurrentExecutions, made.Status],
      [2, 2, "READY"],
    );
    assert.ok(!Number.isNaN(Date.parse(made.LastModified ?? "")));
    assert.deepEqual(await call("fresh@live"), { text: "one", how: "prepared" });
    assert.deepEqual(await call("fresh"), { text: "two", how: "cold" });
    await daemon.end("SIGKILL");
    await start();
    await until(async () => (await get("fresh", "live")).Status === "READY");
    assert.deepEqual(await call("fresh@live"), { text: "one", how: "prepared" });
  });

  it("follows its alias to another version", async () => {
    const FunctionName = "fresh";
    await client.send(new UpdateAliasCommand({ FunctionName, Name: "live", FunctionVersion: "2" }));
    assert.deepEqual(await call("fresh@live"), { text: "two", how: "prepared" });
    assert.deepEqual(await call("fresh@1"), { text: "one", how: "cold" });
    // A deployment of another revision leaves it.
    await deploy("fresh", "echo three");
    assert.deepEqual(await call("fresh@live"), { text: "two", how: "prepared" });
    const newest = new UpdateAliasCommand({ FunctionName, Name: "live", FunctionVersion: "$LATEST" });
    assert.deepEqual((await refused(client.send(newest)))[0], "InvalidParameterValueException");
  });

  it("is listed, changed and taken away", async () => {
    const FunctionName = "fresh";
    await put(FunctionName, "1", 1);
    assert.deepEqual(await call("fresh@1"), { text: "one", how: "prepared" });
    const { ProvisionedConcurrencyConfigs } = await client.send(
      new ListProvisionedConcurrencyConfigsCommand({ FunctionName }),
    );
    assert.deepEqual(
      ProvisionedConcurrencyConfigs?.map((one) => [one.FunctionArn, one.RequestedProvisionedConcurrentExecutions]),
      [
        ["arn:aws:lambda:eu-central-1:000000000000:function:fresh:1", 1],
        ["arn:aws:lambda:eu-central-1:000000000000:function:fresh:live", 2],
      ],
    );
    const told = await out("traffic", FunctionName, "--provision", "live=1");
    assert.match(told, /^fresh-00002 +\/fn\/fresh@live +1$/m);
    assert.match((await run("traffic", FunctionName, "--provision", "gone=1")).stderr, /"gone" is no revision/);
    assert.match((await run("traffic", FunctionName, "--provision", "3=1")).stderr, /is no tag nor published/);
    await until(async () => (await tasks(FunctionName)).length === 2);
    await client.send(new DeleteProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier: "1" }));
    assert.deepEqual(
      (await refused(get(FunctionName, "1"))).slice(0, 2),
      ["ProvisionedConcurrencyConfigNotFoundException", 404],
    );
    await client.send(new DeleteAliasCommand({ FunctionName, Name: "live" }));
    await until(async () => (await tasks(FunctionName)).length === 0);
  });

  it("is instances of what serves many, and an alias does not go to where they do not become ready", async () => {
    const served = ["--protocol", "http", "--concurrency", "4", "--max-instances", "3"];
    await deploy("served", "exec httpd -f -p $PORT -h /bin", ...served);
    const good = await publish("served", "live");
    await deploy("served", "echo no luck >&2; exit 4", ...served);
    const broken = await publish("served");
    const { AvailableProvisionedConcurrentExecutions } = await put("served", "live", 8);
    assert.equal(AvailableProvisionedConcurrentExecutions, 8);
    assert.equal((await tasks("served")).length, 2);

    const FunctionName = "served";
    const update = new UpdateAliasCommand({ FunctionName, Name: "live", FunctionVersion: broken });
    const [name, , message] = await refused(client.send(update));
    assert.equal(name, "InvalidParameterValueException");
    assert.match(message, /cannot provision revision served-00002: .*no luck/);
    const { FunctionVersion } = await client.send(new GetAliasCommand({ FunctionName, Name: "live" }));
    assert.equal(FunctionVersion, good);
    assert.match((await refused(put(FunctionName, broken, 1)))[2], /served-00002: .*no luck/);
    // Nor does the tag by another way.
    const script = ["--", "sh", "-c", "echo no luck >&2; exit 4"];
    const anew = await run(
      "deploy",
      "served",
      "--image",
      "box:1",
      ...served,
      "--no-traffic",
      "--tag",
      "live",
      ...script,
    );
    assert.match(anew.stderr, /cannot deploy function .*served.*: .*no luck/);
    assert.equal((await get(FunctionName, "live")).Status, "READY");
    await out("rm", FunctionName);
  });

  it("is refused for the newest, for what is no version, and for more than there may be", async () => {
    for (
      const [qualifier, count, name, pattern] of [
        ["$LATEST", 1, "InvalidParameterValueException", /wanted a version/],
        ["77", 1, "ResourceNotFoundException", /fresh:77/],
        ["3", 1, "ResourceNotFoundException", /fresh:3/],
        ["1", 65, "InvalidParameterValueException", /more than the 64/],
        ["1", 9, "InvalidParameterValueException", /maxPrepared is 8/],
      ] as const
    ) {
      const [told, , message] = await refused(put("fresh", qualifier, count));
      assert.equal(told, name, message);
      assert.match(message, pattern);
    }
    assert.equal((await tasks("fresh")).length, 0);
  });
});
