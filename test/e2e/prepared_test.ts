import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";

interface Waiting {
  readonly id: string;
  readonly pid: number;
  readonly status: string;
}

describe("prepared containers", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-prepared-"));
  let daemon: MayflyProcess;
  const { run, out } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", ...flags, "--", "sh", "-c", script);
  const start = async () => daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--max-prepared", "8"]);
  const waiting = async (): Promise<readonly Waiting[]> => {
    const answer = await daemon.admin("GET", "/v1/tasks");
    const { items } = await answer.json() as { readonly items: readonly Waiting[] };
    return items.filter(({ status }) => status === "created");
  };
  const until = async (count: number) => {
    const end = Date.now() + 20_000;
    for (let items = await waiting(); items.length !== count; items = await waiting()) {
      assert.ok(Date.now() < end, `${items.length} wait, not ${count}: ${daemon.log()}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const invoke = async (name: string, init: RequestInit = { method: "POST", body: "hello" }) => {
    const answer = await fetch(`${daemon.url}/fn/${name}`, init);
    return { text: await answer.text(), how: answer.headers.get("x-mayfly-start"), status: answer.status };
  };

  before(async () => {
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("wait before the first request, serve one each, and are made anew", async () => {
    const script =
      'cat; touch /seen-$(ls / | grep -c seen); ls / | grep seen; echo "$Http_X_Name" "$Http_Method"; hostname; echo $HOSTNAME';
    await deploy("app", script, "--prepared", "3");
    const before = await waiting();
    assert.equal(before.length, 3);
    const { text, how } = await invoke("app", { method: "POST", body: "hello ", headers: { "x-name": "Ada" } });
    assert.equal(how, "prepared");
    const [, host] = /^hello seen-0\nAda POST\n(\w+)\n\1\n$/.exec(text) ?? [];
    assert.ok(
      before.some(({ id }) => host !== undefined && id.endsWith(host)),
      `${JSON.stringify(text)} ${JSON.stringify(before)}`,
    );
    await until(3);
    const next = await invoke("app");
    assert.match(next.text, /^helloseen-0\n/);
    // No body is the end of stdin at once.
    await until(3);
    assert.match((await invoke("app", { method: "GET" })).text, /^seen-0\n *GET\n/);
  });

  it("are left out where there are none: a burst is served whole", async () => {
    await until(3);
    const answers = await Promise.all(Array.from({ length: 12 }, () => invoke("app")));
    assert.ok(answers.every(({ status, text }) => status === 200 && text.startsWith("helloseen-0\n")));
    const prepared = answers.filter(({ how }) => how === "prepared").length;
    assert.ok(prepared >= 3 && prepared < 12, String(prepared));
    await until(3);
  });

  it("are passed over when something has killed them", async () => {
    for (const { pid } of await waiting()) process.kill(pid, "SIGKILL");
    await until(0);
    assert.match((await invoke("app")).text, /^helloseen-0\n/);
  });

  it("are as many as the largest burst took, where that may be, until none comes", async () => {
    await deploy("burst", "cat", "--prepared-max", "4", "--idle", "2s");
    const burst = () => Promise.all(Array.from({ length: 6 }, () => invoke("burst")));
    await until(3);
    assert.ok((await burst()).every(({ text, how }) => text === "hello" && how === "cold"));
    await until(7);
    await until(3);
    await Promise.all([burst(), burst()]);
    await until(7);
    assert.ok((await burst()).filter(({ how }) => how === "prepared").length >= 4);
    await out("rm", "burst");
    await until(3);
    assert.match(
      (await run("deploy", "no", "--image", "box:1", "--prepared", "2", "--prepared-max", "1")).stderr,
      /preparedMax is 1/,
    );
  });

  it("go with their revision, and with their function", async () => {
    await deploy("app", "echo two", "--prepared", "2");
    await until(2);
    assert.deepEqual(await invoke("app"), { text: "two\n", how: "prepared", status: 200 });
    await deploy("other", "echo other", "--prepared", "4");
    await until(6);
    assert.match((await run("deploy", "more", "--image", "box:1", "--prepared", "3")).stderr, /maxPrepared is 8/);
    await out("deploy", "other", "--image", "box:1", "--", "true");
    await until(2);
  });

  it("are there again behind a crash, before any request", async () => {
    await daemon.end("SIGKILL");
    await start();
    await until(2);
    assert.equal((await invoke("app")).how, "prepared");
    await out("rm", "app");
    await until(0);
  });

  it("are refused where a request's environment could not reach them", async () => {
    const flags = ["--image", "box:1", "--prepared", "1"];
    assert.match((await run("deploy", "no", ...flags, "--function-runtime", "crun")).stderr, /"crun" takes their env/);
    assert.match((await run("deploy", "no", ...flags, "--restore")).stderr, /not written by this daemon|choose one/);
  });
});
