import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

const run = promisify(execFile);
const token = "a-token-of-the-administrator";

/** Each command takes a second: Python starts, and reads the description of the whole API. */
describe("AWS's command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-aws-cli-"));
  let daemon: MayflyProcess;
  /** Runs Debian's `aws lambda` as it is. @returns what it prints, from JSON. */
  const aws = async (command: string, ...args: readonly string[]): Promise<Record<string, unknown>> => {
    const { stdout } = await run("/usr/bin/aws", ["--endpoint-url", daemon.url, "lambda", command, ...args], {
      env: {
        PATH: process.env["PATH"],
        HOME: folder,
        AWS_REGION: "eu-central-1",
        AWS_ACCESS_KEY_ID: "any",
        AWS_SECRET_ACCESS_KEY: "thing",
        AWS_SESSION_TOKEN: token,
        AWS_PAGER: "",
        AWS_MAX_ATTEMPTS: "1",
        AWS_EC2_METADATA_DISABLED: "true",
      },
    });
    return stdout === "" ? {} : JSON.parse(stdout);
  };
  const named = ["--function-name", "f"] as const;
  const says = async (...args: readonly string[]) => {
    const file = join(folder, "answer");
    const flags = ["--cli-binary-format", "raw-in-base64-out", "--payload", '{"a":1}'];
    const { ExecutedVersion } = await aws("invoke", ...named, ...flags, ...args, file);
    return [readFileSync(file, "utf8"), ExecutedVersion];
  };

  before(async () => {
    const flags = ["--log-level", "warn", "--admin-tcp"];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    await commandsOn(folder).out("import", makeBusyboxImage(folder, "box:1"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("makes functions, versions and aliases, and invokes them", async () => {
    const words = JSON.stringify({ EntryPoint: ["/bin/sh", "-c"], Command: ["cat; echo $A"] });
    const image = ["--package-type", "Image", "--code", "ImageUri=box:1", "--image-config", words];
    const more = ["--environment", "Variables={A=one}", "--tags", "mayfly.protocol=stdio", "--role", "any"];
    const made = await aws("create-function", ...named, ...image, ...more, "--publish");
    assert.equal(made["Version"], "1");
    await aws("wait", "function-active-v2", ...named);
    assert.deepEqual(await says("--log-type", "Tail"), ['{"a":1}one\n', "$LATEST"]);
    await aws("update-function-configuration", ...named, "--environment", "Variables={A=two}");
    await aws("wait", "function-updated-v2", ...named);
    assert.equal((await aws("publish-version", ...named, "--description", "second"))["Version"], "2");
    await aws("create-alias", ...named, "--name", "live", "--function-version", "1");
    assert.deepEqual(await says("--qualifier", "live"), ['{"a":1}one\n', "1"]);
    const routing = "AdditionalVersionWeights={2=1.0}";
    await aws("update-alias", ...named, "--name", "live", "--routing-config", routing);
    assert.deepEqual(await says("--qualifier", "live"), ['{"a":1}two\n', "2"]);
    const { Versions } = await aws("list-versions-by-function", ...named);
    assert.equal((Versions as unknown[]).length, 3);
    assert.equal((await aws("list-aliases", ...named) as { Aliases: unknown[] }).Aliases.length, 1);
  });

  it("shows and changes what a function has", async () => {
    assert.equal((await aws("list-functions") as { Functions: unknown[] }).Functions.length, 1);
    await aws("put-function-concurrency", ...named, "--reserved-concurrent-executions", "3");
    assert.equal((await aws("get-function-concurrency", ...named))["ReservedConcurrentExecutions"], 3);
    assert.ok((await aws("get-account-settings"))["AccountLimit"]);
    await aws("put-function-event-invoke-config", ...named, "--maximum-retry-attempts", "1");
    assert.equal((await aws("get-function-event-invoke-config", ...named))["MaximumRetryAttempts"], 1);
    const to = JSON.stringify({
      OnFailure: { Destination: "arn:aws:lambda:eu-central-1:000000000000:function:f:live" },
    });
    await aws("update-function-event-invoke-config", ...named, "--destination-config", to);
    const { DestinationConfig } = await aws("get-function-event-invoke-config", ...named);
    assert.deepEqual(DestinationConfig, { OnSuccess: {}, ...JSON.parse(to) });

    const live = [...named, "--qualifier", "live"];
    await aws("put-provisioned-concurrency-config", ...live, "--provisioned-concurrent-executions", "2");
    assert.equal((await aws("get-provisioned-concurrency-config", ...live))["Status"], "READY");
    const { ProvisionedConcurrencyConfigs } = await aws("list-provisioned-concurrency-configs", ...named);
    assert.equal((ProvisionedConcurrencyConfigs as unknown[]).length, 1);
    await aws("delete-provisioned-concurrency-config", ...live);
    await assert.rejects(
      aws("get-provisioned-concurrency-config", ...live),
      /\(ProvisionedConcurrencyConfigNotFoundException\)/,
    );
    const resource = ["--resource", "arn:aws:lambda:eu-central-1:000000000000:function:f"];
    await aws("tag-resource", ...resource, "--tags", "team=blue");
    assert.equal((await aws("list-tags", ...resource) as { Tags: Record<string, string> }).Tags["team"], "blue");
  });

  it("is told what is not there", async () => {
    await assert.rejects(
      aws("get-function", "--function-name", "nobody"),
      /\(ResourceNotFoundException\) when calling the GetFunction operation.*: Function not found: arn:/,
    );
    await assert.rejects(aws("list-layers"), /\(UnknownOperationException\)/);
    await assert.rejects(aws("get-policy", ...named), /\(UnknownOperationException\)/);
    await aws("delete-function", ...named);
    assert.deepEqual((await aws("list-functions"))["Functions"], []);
  });
});
