import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { lambdaRuntime } from "../support/lambda_runtime.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

/** An extension in busybox's shell, written after AWS's description of the API. It says which events it gets. */
const extension = `#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension
me=/tmp/\${0##*/}
ask() { busybox wget -q -S -O $me.answer --header "$@" 2>$me.head; }
ask "lambda-extension-name: \${0##*/}" --post-data '{"events":["INVOKE","SHUTDOWN"]}' $api/register || exit 5
id=$(busybox sed -n 's/^ *lambda-extension-identifier: //Ip' $me.head | tr -d '\\r')
echo "registered $(cat $me.answer)" >&2
case "$EXTENSION" in
  crash) exit 3;;
  error) busybox wget -q -O /dev/null --header "lambda-extension-identifier: $id" \\
    --header "lambda-extension-function-error-type: Extension.NoKey" --post-data '{"errorMessage":"no key"}' $api/init/error
    exit 1;;
  hang) sleep 1000;;
esac
while :; do
  ask "lambda-extension-identifier: $id" $api/event/next || exit 6
  echo "told $(cat $me.answer)" >&2
  case "$EXTENSION$(cat $me.answer)" in
    *SHUTDOWN*) echo "flushed" >&2; exit 0;;
    dies*) exit 4;;
  esac
done
`;

describe("extensions of AWS Lambda", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-extensions-"));
  let daemon: MayflyProcess;
  let client: LambdaClient;
  const { out } = commandsOn(folder);
  const deploy = (name: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", "--protocol", "lambda", ...flags);
  const invoke = async (FunctionName: string, event: unknown) => {
    const answer = await client.send(
      new InvokeCommand({ FunctionName, Payload: JSON.stringify(event), LogType: "Tail" }),
    );
    const text = answer.Payload?.transformToString() ?? "";
    return { text, error: answer.FunctionError, log: atob(answer.LogResult ?? "") };
  };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "error"]);
    client = new LambdaClient({
      region: "eu-central-1",
      endpoint: daemon.url,
      maxAttempts: 1,
      credentials: { accessKeyId: "any", secretAccessKey: "thing" },
    });
    const extensions = join(folder, "rootfs/opt/extensions");
    mkdirSync(join(extensions, "a-folder"), { recursive: true });
    for (const name of ["one", "two"]) writeFileSync(join(extensions, name), extension, { mode: 0o755 });
    const config = { Entrypoint: ["sh", "-c", lambdaRuntime, "runtime"], Cmd: ["app.handler"] };
    await out("import", makeBusyboxImage(folder, "box:1", config));
  });
  after(async () => {
    client.destroy();
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are begun, told of each event, and of the end", async () => {
    await deploy("fresh");
    const { text, error, log } = await invoke("fresh", "count");
    assert.deepEqual([text.trim(), error], ['{"n":1}', undefined], log);
    const events = [...log.matchAll(/told (\{.*\})/g)].map(([, event = ""]) => JSON.parse(event));
    assert.equal(events.filter(({ eventType }) => eventType === "INVOKE").length, 2, log);
    const invoked = events.find(({ eventType }) => eventType === "INVOKE");
    assert.match(log, new RegExp(`START RequestId: ${invoked.requestId} `));
    assert.deepEqual(Object.keys(invoked).sort(), [
      "deadlineMs",
      "eventType",
      "invokedFunctionArn",
      "requestId",
      "tracing",
    ]);
    assert.equal(events.filter(({ eventType }) => eventType === "SHUTDOWN").length, 2, log);
    assert.equal([...log.matchAll(/flushed/g)].length, 2, log);
  });

  it("go on with a container that takes one event after the other", async () => {
    await deploy("kept", "--reuse", "--max-instances", "1", "--idle", "1h");
    for (const n of [1, 2, 3]) assert.equal((await invoke("kept", "count")).text.trim(), `{"n":${n}}`);
    assert.equal((await daemon.admin("DELETE", "/v1/functions/kept")).status, 204);
    const tasks = async () =>
      (await (await daemon.admin("GET", "/v1/tasks")).json() as { items: unknown[] }).items.length;
    await until(async () => await tasks() === 0);
  });

  it("fail their function where they fail", async () => {
    for (
      const [how, type, message] of [
        ["crash", "Extension.Crash", /extension (?:one|two) has ended: exit status 3/],
        ["error", "Extension.NoKey", /extension (?:one|two) has failed: .*no key/],
        ["hang", "Runtime.Unknown", /its extension one did not ask for \/2020-01-01\/extension\/event\/next/],
      ] as const
    ) {
      await deploy(how, "--env", `EXTENSION=${how}`, "--start-timeout", "3s");
      const { text, error } = await invoke(how, "count");
      const { errorType, errorMessage } = JSON.parse(text);
      assert.deepEqual([error, errorType], ["Unhandled", type], text);
      assert.match(errorMessage, message);
    }
  });
});
