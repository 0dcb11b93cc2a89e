import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  GetFunctionCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  type InvokeCommandInput,
  InvokeWithResponseStreamCommand,
  LambdaClient,
  LambdaServiceException,
  ListFunctionsCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
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

describe("AWS Lambda's API", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-lambda-"));
  let daemon: MayflyProcess;
  const { out } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", ...flags, "--", "sh", "-c", script);
  const client = (sessionToken?: string) =>
    new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: {
        accessKeyId: "any",
        secretAccessKey: "thing",
        ...(sessionToken !== undefined && { sessionToken }),
      },
    });
  const invoke = async (FunctionName: string, event?: unknown, more: Partial<InvokeCommandInput> = {}) => {
    const Payload = event === undefined ? undefined : JSON.stringify(event);
    const answer = await client().send(new InvokeCommand({ FunctionName, Payload, ...more }));
    return { ...answer, text: answer.Payload?.transformToString() ?? "" };
  };
  /** The exception that a call ends with. */
  const refused = async (work: Promise<unknown>): Promise<LambdaServiceException> => {
    const error = await work.then(() => assert.fail("it was not refused"), (error: unknown) => error);
    if (!(error instanceof LambdaServiceException)) throw error;
    return error;
  };

  before(async () => {
    const flags = ["--log-level", "warn", "--admin-tcp"];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    await out("import", makeBusyboxImage(folder, "box:1"));
    await deploy("upper", "tr a-z A-Z; env | grep -c -i amz_security >&2; echo $HTTP_X_AMZ_CLIENT_CONTEXT >&2");
    await deploy("bad", "echo why >&2; exit 3");
    await deploy("slow", "sleep 60", "--timeout", "100ms");
    await deploy("one", "until [ -e /dev/never ]; do sleep 1; done", "--concurrency", "1");
    await deploy("large", "head -c 7000000 /dev/zero");
    await deploy("nothing", "no-such-program");
    await deploy("full", "dd if=/dev/zero of=/x bs=64k", "--scratch", "1m");
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("invokes, and answers with the payload, the version and the end of the log", async () => {
    const answer = await invoke("upper", { hello: "world" }, { LogType: "Tail", ClientContext: btoa('{"a":1}') });
    assert.equal(answer.text, '{"HELLO":"WORLD"}');
    assert.equal(answer.StatusCode, 200);
    assert.equal(answer.FunctionError, undefined);
    assert.equal(answer.ExecutedVersion, "$LATEST");
    const id = answer.$metadata.requestId;
    const log = atob(answer.LogResult ?? "");
    assert.match(log, new RegExp(`^START RequestId: ${id} Version: \\$LATEST\n0\n${btoa('{"a":1}')}\nEND RequestId: `));
    assert.match(
      log,
      /\nREPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax /,
    );
    assert.equal((await daemon.admin("GET", `/v1/invocations/${id}`)).status, 200);
    assert.equal((await invoke("upper")).text, "");
  });

  it("finds a function by its name, its ARN and a part of it, with $LATEST", async () => {
    for (
      const name of [
        "upper:$LATEST",
        "123456789012:function:upper",
        "arn:aws:lambda:eu-central-1:123456789012:function:upper",
        "arn:aws:lambda:eu-central-1:123456789012:function:upper:$LATEST",
        "upper.default",
      ]
    ) assert.equal((await invoke(name, "a")).text, '"A"', name);
    assert.equal((await invoke("upper", "a", { Qualifier: "$LATEST" })).text, '"A"');
    await out(
      "deploy",
      "upper",
      "--image",
      "box:1",
      "--no-traffic",
      "--tag",
      "next",
      "--",
      "sh",
      "-c",
      "cat; echo new",
    );
    for (const name of ["upper:next", "upper:2"]) {
      const { text, ExecutedVersion } = await invoke(name, "a");
      assert.deepEqual([text, ExecutedVersion], ['"a"new\n', "2"]);
    }
    const first = await invoke("upper", "a", { Qualifier: "1" });
    assert.deepEqual([first.text, first.ExecutedVersion], ['"A"', "1"]);
    for (const [name, more] of [["upper:7", {}], ["upper", { Qualifier: "live" }], ["nobody", {}]] as const) {
      const error = await refused(invoke(name, "a", more));
      assert.equal(error.name, "ResourceNotFoundException", name);
      assert.equal(error.$metadata.httpStatusCode, 404);
    }
    for (const name of ["Upper_Case", "a:b:c:d:e", "arn:aws:lambda"]) {
      assert.equal((await refused(invoke(name, "a"))).name, "InvalidParameterValueException", name);
    }
    const derived = await refused(invoke("upper:$LATEST", "a", { Qualifier: "1" }));
    assert.match(derived.message, /^The derived qualifier/);
  });

  it("tells what a function has done wrong as a function's error", async () => {
    const failed = async (name: string) => {
      const { StatusCode, FunctionError, text, LogResult } = await invoke(name, {}, { LogType: "Tail" });
      assert.deepEqual([StatusCode, FunctionError], [200, "Unhandled"], name);
      return { ...JSON.parse(text) as { errorType: string; errorMessage: string }, log: atob(LogResult ?? "") };
    };
    const bad = await failed("bad");
    assert.equal(bad.errorType, "Runtime.ExitError");
    assert.match(bad.errorMessage, /^RequestId: \S+ Error: Runtime exited with error: exit status 3$/);
    assert.match(bad.log, /\nwhy\nEND/);
    const slow = await failed("slow");
    assert.equal(slow.errorType, "Sandbox.Timedout");
    assert.match(slow.errorMessage, /Error: Task timed out after 0.10 seconds$/);
    assert.equal((await failed("large")).errorType, "Function.ResponseSizeTooLarge");
    assert.equal((await failed("nothing")).errorType, "Runtime.ExitError");
    const full = await failed("full");
    assert.equal(full.errorType, "Runtime.ExitError");
    assert.match(full.errorMessage, /its root filesystem may have 1048576 bytes \(scratchBytes\)$/);
  });

  it("refuses what is none of the function's fault by AWS's exceptions", async () => {
    const content = await refused(invoke("upper", undefined, { Payload: "{a:1}" }));
    assert.equal(content.name, "InvalidRequestContentException");
    assert.match(content.message, /^Could not parse request body into json: /);
    const large = await refused(invoke("upper", "a".repeat(6 * 1024 * 1024)));
    assert.deepEqual([large.name, large.$metadata.httpStatusCode], ["RequestTooLargeException", 413]);
    const type = await refused(invoke("upper", {}, { InvocationType: "Now" as "Event" }));
    assert.equal(type.name, "InvalidParameterValueException");

    const first = invoke("one", {});
    const { id } = await until(async () => {
      const { items } = await (await daemon.admin("GET", "/v1/tasks")).json() as { items: { id: string }[] };
      return items[0];
    });
    const busy = await refused(invoke("one", {}));
    assert.equal(busy.name, "TooManyRequestsException");
    assert.equal(busy.$metadata.httpStatusCode, 429);
    assert.equal((busy as { Reason?: string }).Reason, "ConcurrentInvocationLimitExceeded");
    await daemon.admin("POST", `/v1/tasks/${id}/kill?signal=KILL`);
    const killed = await first;
    assert.equal(killed.FunctionError, "Unhandled");
    assert.match(killed.text, /Runtime exited with error: signal: /);
  });

  it("accepts an event for later, and tries one without running it", async () => {
    const answer = await invoke("upper", "later", { InvocationType: "Event" });
    assert.equal(answer.StatusCode, 202);
    assert.equal(answer.text, "");
    const id = answer.$metadata.requestId;
    const got = () => fetch(`${daemon.url}/async/calls/${id}/answer`);
    await until(async () => (await got()).status === 200);
    assert.equal(await (await got()).text(), '"LATER"');
    const dry = await invoke("upper", "a", { InvocationType: "DryRun" });
    assert.equal(dry.StatusCode, 204);
    assert.equal((await refused(invoke("nobody", "a", { InvocationType: "DryRun" }))).$metadata.httpStatusCode, 404);
    assert.equal((await refused(invoke("nobody", "a", { InvocationType: "Event" }))).$metadata.httpStatusCode, 404);
  });

  it("creates, shows, changes and removes functions, for the administrator", async () => {
    const admin = client(token);
    const created = await admin.send(
      new CreateFunctionCommand({
        FunctionName: "made",
        Role: "arn:aws:iam::123456789012:role/any",
        PackageType: "Image",
        Code: { ImageUri: "box:1" },
        ImageConfig: { EntryPoint: ["/bin/sh", "-c"], Command: ["echo $A $0; cat; exit $CODE"] },
        Environment: { Variables: { A: "b", CODE: "0" } },
        Description: "makes things",
        Timeout: 7,
        Tags: { team: "blue", "mayfly.protocol": "stdio" },
      }),
    );
    assert.equal(created.FunctionArn, "arn:aws:lambda:eu-central-1:000000000000:function:made");
    assert.deepEqual([created.State, created.Timeout, created.MemorySize], ["Active", 7, 128]);
    assert.match(created.CodeSha256 ?? "", /^[0-9a-f]{64}$/);
    assert.equal((await invoke(created.FunctionArn ?? "", 5)).text, "b /bin/sh\n5");

    const again = await refused(
      admin.send(
        new CreateFunctionCommand({
          FunctionName: "made",
          Role: "any",
          PackageType: "Image",
          Code: { ImageUri: "box:1" },
        }),
      ),
    );
    assert.deepEqual([again.name, again.$metadata.httpStatusCode], ["ResourceConflictException", 409]);

    const shown = await admin.send(new GetFunctionCommand({ FunctionName: created.FunctionArn }));
    assert.equal(shown.Configuration?.Description, "makes things");
    assert.equal(shown.Code?.ImageUri, "box:1");
    assert.equal(shown.Code?.ResolvedImageUri, `docker.io/library/box@sha256:${created.CodeSha256}`);
    assert.deepEqual(shown.Tags, { team: "blue", "mayfly.protocol": "stdio" });
    const { RevisionId } = shown.Configuration ?? {};

    const FunctionName = "made";
    const changed = await admin.send(
      new UpdateFunctionConfigurationCommand({
        FunctionName,
        RevisionId,
        Timeout: 9,
        MemorySize: 64,
        Environment: { Variables: { A: "c", CODE: "4" } },
      }),
    );
    assert.deepEqual([changed.Timeout, changed.MemorySize, changed.Role], [9, 64, created.Role]);
    assert.deepEqual(changed.ImageConfigResponse, created.ImageConfigResponse);
    const old = await refused(admin.send(new UpdateFunctionConfigurationCommand({ FunctionName, RevisionId })));
    assert.equal(old.name, "PreconditionFailedException");
    const ran = await invoke("made", 5);
    assert.equal(JSON.parse(ran.text).errorMessage.split("Error: ")[1], "Runtime exited with error: exit status 4");

    await out("tag", "box:1", "box:2");
    const code = await admin.send(new UpdateFunctionCodeCommand({ FunctionName, ImageUri: "box:2" }));
    assert.equal(code.Timeout, 9);
    assert.equal((await admin.send(new GetFunctionCommand({ FunctionName }))).Code?.ImageUri, "box:2");
    const missing = await refused(
      admin.send(new UpdateFunctionCodeCommand({ FunctionName, ImageUri: "127.0.0.1:1/none:1" })),
    );
    assert.ok(missing.$metadata.httpStatusCode, missing.name);

    const names: string[] = [];
    let Marker: string | undefined;
    do {
      const page = await admin.send(new ListFunctionsCommand({ MaxItems: 2, Marker }));
      names.push(...page.Functions?.map((one) => one.FunctionName ?? "") ?? []);
      Marker = page.NextMarker;
    } while (Marker !== undefined);
    assert.deepEqual(names, ["bad", "full", "large", "made", "nothing", "one", "slow", "upper"]);

    await admin.send(new DeleteFunctionCommand({ FunctionName }));
    const gone = await refused(admin.send(new GetFunctionConfigurationCommand({ FunctionName })));
    assert.equal(gone.name, "ResourceNotFoundException");
    assert.equal((await refused(admin.send(new DeleteFunctionCommand({ FunctionName })))).name, gone.name);
  });

  it("says what it cannot make", async () => {
    const admin = client(token);
    const create = (more: object) => {
      const input = { FunctionName: "x", Role: "r", PackageType: "Image" as const, Code: { ImageUri: "box:1" } };
      return refused(admin.send(new CreateFunctionCommand({ ...input, ...more })));
    };
    for (
      const [more, pattern] of [
        [
          { PackageType: "Zip", Runtime: "nodejs24.x", Handler: "a.b", Code: {} },
          /"PackageType" is "Zip": wanted Image/,
        ],
        [{ VpcConfig: { SubnetIds: ["a"] } }, /"VpcConfig" is Object: wanted nothing/],
        [{ Timeout: 901 }, /"Timeout" is 901: wanted <=900/],
        [{ ImageConfig: { EntryPoint: ["sh"] } }, /"EntryPoint" without "Command"/],
        [{ Layers: ["a"] }, /"Layers"/],
        [{ FunctionName: "Not_A_Label" }, /1 to 63 lower-case letters/],
        [{ Environment: { Variables: { "a-b": "c" } } }, /a-b/],
      ] as const
    ) {
      const error = await create(more);
      assert.equal(error.name, "InvalidParameterValueException", JSON.stringify(more));
      assert.match(error.message, pattern);
    }
  });

  it("gives each token what it may do, in its namespace", async () => {
    const make = async (name: string, ...more: readonly string[]) =>
      client((await out("token", "create", name, ...more)).trim());
    const reader = await make("reader", "--scope", "read");
    const deployer = await make("deployer", "--scope", "deploy", "--namespace", "other");
    const ours = await make("ours", "--scope", "deploy");
    const input = (FunctionName: string) => ({
      FunctionName,
      Role: "any",
      PackageType: "Image" as const,
      Code: { ImageUri: "box:1" },
      ImageConfig: { EntryPoint: ["cat"], Command: ["-"] },
      Tags: { "mayfly.protocol": "stdio" },
    });
    const denied = async (work: Promise<unknown>) => {
      const { name, $metadata } = await refused(work);
      assert.deepEqual([name, $metadata.httpStatusCode], ["AccessDeniedException", 403]);
    };
    await out("import", join(folder, "layout"), "--namespace", "other");
    const { FunctionArn } = await deployer.send(new CreateFunctionCommand(input("theirs.other")));
    assert.equal((await invoke(FunctionArn ?? "", 1)).text, "1");
    await denied(deployer.send(new CreateFunctionCommand(input("mine"))));
    await denied(deployer.send(new GetFunctionCommand({ FunctionName: "upper" })));
    await denied(deployer.send(new ListFunctionsCommand({})));
    await denied(ours.send(new DeleteFunctionCommand({ FunctionName: "theirs.other" })));
    assert.ok((await reader.send(new ListFunctionsCommand({}))).Functions?.length);
    await denied(reader.send(new UpdateFunctionConfigurationCommand({ FunctionName: "upper", Timeout: 3 })));
    // What reaches the machine is not theirs to give another image.
    await deploy("mounted", "cat", "-v", `${folder}:/host`);
    await denied(ours.send(new UpdateFunctionCodeCommand({ FunctionName: "mounted", ImageUri: "box:2" })));
    await ours.send(new UpdateFunctionConfigurationCommand({ FunctionName: "upper", Timeout: 3 }));
  });

  it("lets who has a token for it call a function that wants one, which does not see it", async () => {
    const script = "cat; env | grep -c -E 'mayfly_[0-9a-f]{16}_|SECURITY_TOKEN|AUTHORIZATION=' >&2; true";
    await deploy("closed", script, "--auth", "token");
    const given = async (name: string, scope: string) =>
      client((await out("token", "create", name, "--scope", scope)).trim());
    const [caller, looker] = [await given("caller", "invoke"), await given("looker", "read")];
    const input = { FunctionName: "closed", Payload: '"in"', LogType: "Tail" } as const;
    const answer = await caller.send(new InvokeCommand(input));
    assert.equal(answer.Payload?.transformToString(), '"in"');
    assert.match(atob(answer.LogResult ?? ""), /^START .*\n0\nEND /);
    const { EventStream } = await caller.send(new InvokeWithResponseStreamCommand(input));
    const parts: string[] = [];
    for await (const { PayloadChunk } of EventStream ?? []) {
      if (PayloadChunk?.Payload !== undefined) parts.push(new TextDecoder().decode(PayloadChunk.Payload));
    }
    assert.equal(parts.join(""), '"in"');
    assert.equal((await caller.send(new InvokeCommand({ ...input, InvocationType: "Event" }))).StatusCode, 202);
    for (const type of ["RequestResponse", "Event", "DryRun"] as const) {
      for (
        const [who, name] of [
          [client(), "UnrecognizedClientException"],
          [client("a-wrong-token"), "UnrecognizedClientException"],
          [looker, "AccessDeniedException"],
        ] as const
      ) {
        const error = await refused(who.send(new InvokeCommand({ ...input, InvocationType: type })));
        assert.deepEqual([error.name, error.$metadata.httpStatusCode], [name, 403], type);
      }
    }
    await out("rm", "closed");
  });

  it("gives nobody but the administrator more than to invoke", async () => {
    const FunctionName = "upper";
    const Role = "any";
    for (
      const command of [
        () => new ListFunctionsCommand({}),
        () => new GetFunctionCommand({ FunctionName }),
        () => new GetFunctionConfigurationCommand({ FunctionName }),
        () => new DeleteFunctionCommand({ FunctionName }),
        () => new UpdateFunctionCodeCommand({ FunctionName, ImageUri: "box:1" }),
        () => new UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 1 }),
        () =>
          new CreateFunctionCommand({ FunctionName: "own", Role, PackageType: "Image", Code: { ImageUri: "box:1" } }),
      ]
    ) {
      for (const given of [undefined, "a-wrong-token"]) {
        // A command is a class of its own for each operation: together they have no common input.
        const sent = (client(given) as { send(command: unknown): Promise<unknown> }).send(command());
        const error = await refused(sent);
        assert.deepEqual([error.name, error.$metadata.httpStatusCode], ["UnrecognizedClientException", 403]);
      }
    }
    assert.equal((await invoke("upper", "a")).text, '"A"');
  });
});
