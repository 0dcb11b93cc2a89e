import {
  CreateAliasCommand,
  CreateFunctionCommand,
  DeleteAliasCommand,
  DeleteFunctionCommand,
  DeleteFunctionConcurrencyCommand,
  DeleteFunctionEventInvokeConfigCommand,
  GetAccountSettingsCommand,
  GetAliasCommand,
  GetFunctionCommand,
  GetFunctionConcurrencyCommand,
  GetFunctionEventInvokeConfigCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  LambdaClient,
  LambdaServiceException,
  ListAliasesCommand,
  ListFunctionEventInvokeConfigsCommand,
  ListTagsCommand,
  ListVersionsByFunctionCommand,
  PublishVersionCommand,
  PutFunctionConcurrencyCommand,
  PutFunctionEventInvokeConfigCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAliasCommand,
  UpdateFunctionConfigurationCommand,
  UpdateFunctionEventInvokeConfigCommand,
  waitUntilFunctionActiveV2,
  waitUntilFunctionExists,
  waitUntilFunctionUpdatedV2,
  waitUntilPublishedVersionActive,
} from "@aws-sdk/client-lambda";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

const token = "a-token-of-the-administrator";

describe("AWS Lambda's versions, aliases and settings", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-lambda-versions-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const { out } = commandsOn(folder);
  const FunctionName = "greet";
  const create = (name: string, A: string, Publish = false) =>
    client.send(
      new CreateFunctionCommand({
        FunctionName: name,
        Role: "any",
        PackageType: "Image",
        Code: { ImageUri: "box:1" },
        ImageConfig: { EntryPoint: ["/bin/sh", "-c"], Command: ["cat >/dev/null; echo $A"] },
        Environment: { Variables: { A } },
        Tags: { "mayfly.protocol": "stdio" },
        Publish,
      }),
    );
  const change = async (A: string) => {
    await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Environment: { Variables: { A } } }));
    await waitUntilFunctionUpdatedV2({ client, maxWaitTime: 10 }, { FunctionName });
  };
  const says = async (Qualifier?: string) => {
    const answer = await client.send(new InvokeCommand({ FunctionName, Qualifier, Payload: "{}" }));
    return [answer.Payload?.transformToString().trim(), answer.ExecutedVersion];
  };
  const refused = async (work: Promise<unknown>): Promise<[string, number | undefined]> => {
    const error = await work.then(() => assert.fail("it was not refused"), (error: unknown) => error);
    if (!(error instanceof LambdaServiceException)) throw error;
    return [error.name, error.$metadata.httpStatusCode];
  };

  before(async () => {
    const flags = ["--log-level", "warn", "--admin-tcp", "--keep-revisions", "1"];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    await out("import", makeBusyboxImage(folder, "box:1"));
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing", sessionToken: token },
    });
    await create(FunctionName, "one");
    await waitUntilFunctionExists({ client, maxWaitTime: 10 }, { FunctionName });
    await waitUntilFunctionActiveV2({ client, maxWaitTime: 10 }, { FunctionName });
  });
  after(async () => {
    client.destroy();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("publishes versions, which stay as they are", async () => {
    const first = await client.send(new PublishVersionCommand({ FunctionName, Description: "the first" }));
    assert.deepEqual([first.Version, first.Description], ["1", "the first"]);
    assert.equal(first.FunctionArn, "arn:aws:lambda:eu-central-1:000000000000:function:greet:1");
    await waitUntilPublishedVersionActive({ client, maxWaitTime: 10 }, { FunctionName, Qualifier: "1" });
    const again = await client.send(new PublishVersionCommand({ FunctionName }));
    assert.deepEqual([again.Version, again.Description], ["1", "the first"], "nothing has changed");
    await change("two");
    await change("three");
    const wrong = new PublishVersionCommand({ FunctionName, CodeSha256: "abc" });
    assert.deepEqual(await refused(client.send(wrong)), ["InvalidParameterValueException", 400]);
    const old = new PublishVersionCommand({ FunctionName, RevisionId: first.RevisionId });
    assert.deepEqual(await refused(client.send(old)), ["PreconditionFailedException", 412]);
    const { CodeSha256 } = first;
    const third = await client.send(new PublishVersionCommand({ FunctionName, CodeSha256 }));
    assert.equal(third.Version, "3");
    await change("four");
    assert.deepEqual(await says(), ["four", "$LATEST"]);
    assert.deepEqual(await says("1"), ["one", "1"]);
    assert.deepEqual(await says("3"), ["three", "3"]);
    assert.deepEqual(await refused(says("2")), ["ResourceNotFoundException", 404]);

    const shown = await client.send(new GetFunctionCommand({ FunctionName, Qualifier: "3" }));
    assert.deepEqual(
      [shown.Configuration?.Version, shown.Configuration?.Environment?.Variables],
      ["3", { A: "three" }],
    );
    const { Versions, NextMarker } = await client.send(
      new ListVersionsByFunctionCommand({ FunctionName, MaxItems: 2 }),
    );
    assert.deepEqual(Versions?.map(({ Version }) => Version), ["$LATEST", "1"]);
    const rest = await client.send(new ListVersionsByFunctionCommand({ FunctionName, Marker: NextMarker }));
    assert.deepEqual(rest.Versions?.map(({ Version }) => Version), ["3"]);
    const fixed = new UpdateFunctionConfigurationCommand({ FunctionName: "greet:3", Timeout: 4 });
    assert.deepEqual(await refused(client.send(fixed)), ["InvalidParameterValueException", 400]);
  });

  it("tells which version an alias has meant, in the log, in what is streamed and of what is only tried, too", async () => {
    await client.send(new CreateAliasCommand({ FunctionName, Name: "told", FunctionVersion: "3" }));
    for (const [Qualifier, version] of [["told", "3"], ["1", "1"], [undefined, "$LATEST"]] as const) {
      const ran = await client.send(new InvokeCommand({ FunctionName, Qualifier, LogType: "Tail" }));
      assert.equal(ran.ExecutedVersion, version);
      const [begin] = atob(ran.LogResult ?? "").split("\n");
      assert.equal(begin, `START RequestId: ${ran.$metadata.requestId} Version: ${version}`);
      const tried = await client.send(new InvokeCommand({ FunctionName, Qualifier, InvocationType: "DryRun" }));
      assert.deepEqual([tried.StatusCode, tried.ExecutedVersion], [204, version]);
      const streamed = await client.send(
        new InvokeWithResponseStreamCommand({ FunctionName, Qualifier, LogType: "Tail" }),
      );
      assert.equal(streamed.ExecutedVersion, version);
      for await (const { InvokeComplete } of streamed.EventStream ?? []) {
        if (InvokeComplete === undefined) continue;
        assert.match(
          atob(InvokeComplete.LogResult ?? ""),
          new RegExp(`^START \\S+ \\S+ Version: ${version.replace("$", "\\$")}\n`),
        );
      }
    }
    const unknown = new InvokeCommand({ FunctionName, Qualifier: "gone", InvocationType: "DryRun" });
    assert.deepEqual(await refused(client.send(unknown)), ["ResourceNotFoundException", 404]);
    // What is to be run later is run by whom the alias means then.
    const later = await client.send(new InvokeCommand({ FunctionName, Qualifier: "told", InvocationType: "Event" }));
    assert.deepEqual([later.StatusCode, later.ExecutedVersion], [202, undefined]);
    await client.send(new DeleteAliasCommand({ FunctionName, Name: "told" }));
  });

  it("publishes what it makes, where that is asked for", async () => {
    const made = await create("published", "x", true);
    assert.deepEqual([made.Version, made.FunctionArn?.endsWith(":published:1")], ["1", true]);
    await client.send(new DeleteFunctionCommand({ FunctionName: "published" }));
  });

  it("names versions by aliases, with a share for another one", async () => {
    const made = await client.send(
      new CreateAliasCommand({ FunctionName, Name: "live", FunctionVersion: "1", Description: "what is used" }),
    );
    assert.equal(made.AliasArn, "arn:aws:lambda:eu-central-1:000000000000:function:greet:live");
    assert.deepEqual([made.FunctionVersion, made.Description, made.RoutingConfig], ["1", "what is used", undefined]);
    assert.deepEqual(await says("live"), ["one", "1"]);
    const arn = await client.send(new InvokeCommand({ FunctionName: made.AliasArn, Payload: "{}" }));
    assert.equal(arn.ExecutedVersion, "1");
    const twice = new CreateAliasCommand({ FunctionName, Name: "live", FunctionVersion: "3" });
    assert.deepEqual(await refused(client.send(twice)), ["ResourceConflictException", 409]);
    const missing = new CreateAliasCommand({ FunctionName, Name: "gone", FunctionVersion: "2" });
    assert.deepEqual(await refused(client.send(missing)), ["ResourceNotFoundException", 404]);

    const RoutingConfig = { AdditionalVersionWeights: { "3": 0.3 } };
    const { RevisionId } = made;
    const shared = await client.send(new UpdateAliasCommand({ FunctionName, Name: "live", RoutingConfig, RevisionId }));
    assert.deepEqual([shared.RoutingConfig, shared.FunctionVersion], [RoutingConfig, "1"]);
    const stale = new UpdateAliasCommand({ FunctionName, Name: "live", FunctionVersion: "3", RevisionId });
    assert.deepEqual(await refused(client.send(stale)), ["PreconditionFailedException", 412]);
    const answered: unknown[] = [];
    for (let i = 0; i < 20; i++) answered.push((await says("live"))[1]);
    // Whatever else was asked of it: each hundred are split exactly, and spread.
    const ofThree = answered.filter((version) => version === "3").length;
    assert.ok(ofThree >= 5 && ofThree <= 7, `${ofThree}`);
    for (const weights of [{ "1": 0.5 }, { "3": 0.001 }] as Record<string, number>[]) {
      const wrong = new UpdateAliasCommand({
        FunctionName,
        Name: "live",
        RoutingConfig: { AdditionalVersionWeights: weights },
      });
      assert.deepEqual(await refused(client.send(wrong)), ["InvalidParameterValueException", 400]);
    }

    // Versions that an alias has are not removed, and are kept whatever is deployed.
    const used = new DeleteFunctionCommand({ FunctionName, Qualifier: "3" });
    assert.deepEqual(await refused(client.send(used)), ["ResourceConflictException", 409]);
    for (const A of ["five", "six"]) await change(A);
    await client.send(
      new UpdateAliasCommand({ FunctionName, Name: "live", FunctionVersion: "3", RoutingConfig: {} }),
    );
    assert.deepEqual(await says("live"), ["three", "3"]);
    await client.send(new CreateAliasCommand({ FunctionName, Name: "newest", FunctionVersion: "$LATEST" }));
    assert.equal((await says("newest"))[0], "six");
    const { Aliases } = await client.send(new ListAliasesCommand({ FunctionName }));
    assert.deepEqual(Aliases?.map(({ Name, FunctionVersion }) => [Name, FunctionVersion]), [
      ["live", "3"],
      ["newest", "$LATEST"],
    ]);
    const ofVersion = await client.send(new ListAliasesCommand({ FunctionName, FunctionVersion: "3" }));
    assert.equal(ofVersion.Aliases?.length, 1);
    assert.equal((await client.send(new GetAliasCommand({ FunctionName, Name: "live" }))).Description, "what is used");
    for (let i = 0; i < 2; i++) await client.send(new DeleteAliasCommand({ FunctionName, Name: "live" }));
    const gone = new GetAliasCommand({ FunctionName, Name: "live" });
    assert.deepEqual(await refused(client.send(gone)), ["ResourceNotFoundException", 404]);
    await client.send(new DeleteFunctionCommand({ FunctionName, Qualifier: "3" }));
    assert.deepEqual(await refused(says("3")), ["ResourceNotFoundException", 404]);
    assert.deepEqual(await says("1"), ["one", "1"]);
  });

  it("reserves concurrency, and shows what there is", async () => {
    const account = async () => (await client.send(new GetAccountSettingsCommand({}))).AccountLimit;
    const before = await account();
    assert.equal(before?.ConcurrentExecutions, 256);
    await client.send(new PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions: 5 }));
    const { ReservedConcurrentExecutions } = await client.send(new GetFunctionConcurrencyCommand({ FunctionName }));
    assert.equal(ReservedConcurrentExecutions, 5);
    assert.equal(
      (await client.send(new GetFunctionCommand({ FunctionName }))).Concurrency?.ReservedConcurrentExecutions,
      5,
    );
    const now = await account();
    assert.equal(now?.UnreservedConcurrentExecutions, 251);
    const { concurrency } = await (await daemon.admin("GET", `/v1/functions/${FunctionName}`)).json();
    assert.equal(concurrency, 5);
    for (const ReservedConcurrentExecutions of [0, 256]) {
      const wrong = new PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions });
      assert.deepEqual(await refused(client.send(wrong)), ["InvalidParameterValueException", 400]);
    }
    await client.send(new DeleteFunctionConcurrencyCommand({ FunctionName }));
    const { $metadata: _, ...none } = await client.send(new GetFunctionConcurrencyCommand({ FunctionName }));
    assert.deepEqual(none, {});
    assert.equal((await account())?.UnreservedConcurrentExecutions, 256);
  });

  it("says how often, and for how long, events are tried", async () => {
    const get = async () => await client.send(new GetFunctionEventInvokeConfigCommand({ FunctionName }));
    assert.deepEqual(await refused(get()), ["ResourceNotFoundException", 404]);
    const update = new UpdateFunctionEventInvokeConfigCommand({ FunctionName, MaximumEventAgeInSeconds: 120 });
    assert.deepEqual(await refused(client.send(update)), ["ResourceNotFoundException", 404]);
    const put = await client.send(new PutFunctionEventInvokeConfigCommand({ FunctionName, MaximumRetryAttempts: 0 }));
    assert.deepEqual([put.MaximumRetryAttempts, put.MaximumEventAgeInSeconds], [0, 21600]);
    assert.ok(put.LastModified instanceof Date);
    await client.send(update);
    const { asyncAttempts, asyncMaxAgeMs } = await (await daemon.admin("GET", `/v1/functions/${FunctionName}`)).json();
    assert.deepEqual([asyncAttempts, asyncMaxAgeMs], [1, 120_000]);
    const list = await client.send(new ListFunctionEventInvokeConfigsCommand({ FunctionName }));
    assert.equal(list.FunctionEventInvokeConfigs?.length, 1);
    const topic = new PutFunctionEventInvokeConfigCommand({
      FunctionName,
      DestinationConfig: { OnFailure: { Destination: "arn:aws:sns:eu-central-1:123456789012:topic" } },
    });
    assert.deepEqual(await refused(client.send(topic)), ["InvalidParameterValueException", 400]);
    await client.send(new DeleteFunctionEventInvokeConfigCommand({ FunctionName }));
    assert.deepEqual(await refused(get()), ["ResourceNotFoundException", 404]);
  });

  it("tags functions", async () => {
    const { Configuration } = await client.send(new GetFunctionCommand({ FunctionName }));
    const Resource = Configuration?.FunctionArn;
    const tags = async () => (await client.send(new ListTagsCommand({ Resource }))).Tags;
    await client.send(new TagResourceCommand({ Resource, Tags: { team: "blue", tier: "1" } }));
    assert.deepEqual(await tags(), { "mayfly.protocol": "stdio", team: "blue", tier: "1" });
    await client.send(new UntagResourceCommand({ Resource, TagKeys: ["tier", "mayfly.protocol"] }));
    assert.deepEqual(await tags(), { team: "blue" });
    const Tags = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`tag-${i}`, ""]));
    const many = new TagResourceCommand({ Resource, Tags });
    assert.deepEqual(await refused(client.send(many)), ["InvalidParameterValueException", 400]);
  });
});
