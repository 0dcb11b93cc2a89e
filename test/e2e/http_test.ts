import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { leftovers } from "../support/leftovers.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

/** A server that runs a script for each connection. */
const serve = (script: string) =>
  `printf '%s' '#!/bin/sh\n${script}' > /tmp/app; chmod 755 /tmp/app; exec nc -ll -p $PORT -e /tmp/app`;
/** Reads the head of a request. */
const head = `read -r first; length=0; all=""; while read -r line; do line="\${line%$(printf "\\r")}"; ` +
  `[ -z "$line" ] && break; all="$all$line;"; case "$line" in content-length:*) length=\${line#*: };; esac; done; `;
const say = (text: string) =>
  `text="${text}"; printf "HTTP/1.1 200 OK\\r\\ncontent-type: text/plain\\r\\ncontent-length: %d\\r\\n` +
  `x-own: yes\\r\\nkeep-alive: timeout=5\\r\\nconnection: close\\r\\n\\r\\n%s" "\${#text}" "$text"`;

interface Running {
  readonly id: string;
  readonly pid: number;
  readonly status: string;
}

describe("functions that serve HTTP", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-http-"));
  const seen = join(folder, "seen");
  let daemon: MayflyProcess;
  /** What the image alone leaves. */
  let image: readonly string[];
  const { run, out } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out(
      "deploy",
      name,
      "--image",
      "box:1",
      "--protocol",
      "http",
      "-v",
      `${seen}:/seen`,
      ...flags,
      "--",
      "sh",
      "-c",
      script,
    );
  const start = async () => daemon = await MayflyProcess.start(folder, ["--log-level", "error", "--max-prepared", "8"]);
  const running = async (): Promise<readonly Running[]> => {
    const { items } = await (await daemon.admin("GET", "/v1/tasks")).json() as { readonly items: readonly Running[] };
    return items.filter(({ status }) => status === "running" || status === "paused");
  };
  const count = (wanted: number) => until(async () => (await running()).length === wanted);
  const call = (path: string, init: RequestInit = {}) => fetch(`${daemon.url}/fn/${path}`, init);
  const record = async (answer: Response) => {
    const id = answer.headers.get("x-mayfly-invocation");
    return await (await daemon.admin("GET", `/v1/invocations/${id}`)).json() as Record<string, string>;
  };

  before(async () => {
    mkdirSync(seen, { mode: 0o777 });
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
    await out("run", "box:1", "true");
    // Cgroups are kept for the next container.
    image = leftovers(folder).filter((line) => !line.startsWith("cgroup"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    assert.deepEqual(leftovers(folder), image);
    rmSync(folder, { recursive: true, force: true });
  });

  it("answer from a container that lives on, with the contract's variables", async () => {
    await deploy("app", serve(`${head}${say("$first|$all|$K_SERVICE $K_REVISION $K_CONFIGURATION $PORT|$HOSTNAME")}`));
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const first = await call("app/a%20b/c?d=e", {
      headers: { "x-name": "Ada", "x-forwarded-for": "1.2.3.4", "x-real-ip": "1.2.3.4", traceparent },
    });
    assert.equal(first.status, 200);
    assert.equal(first.headers.get("x-mayfly-start"), "cold");
    assert.equal(first.headers.get("x-own"), "yes");
    assert.equal(first.headers.get("content-type"), "text/plain");
    const [line, fields = "", contract, host] = (await first.text()).split("|");
    assert.match(line ?? "", /^GET \/a%20b\/c\?d=e HTTP\/1.1/);
    assert.match(fields, /;x-name: Ada;/);
    assert.match(fields, /(^|;)x-forwarded-for: 127\.0\.0\.1;/);
    assert.match(fields, /;x-real-ip: 127\.0\.0\.1;/);
    assert.match(fields, /;x-forwarded-prefix: \/fn\/app;/);
    assert.match(fields, /(^|;)forwarded: for=127\.0\.0\.1;proto=http;host="127/);
    assert.match(fields, /;traceparent: 00-0af7651916cd43dd8448eb211c80319c-/);
    assert.equal(contract, "app app-00001 app 8080");
    const second = await call("app");
    assert.equal(second.headers.get("x-mayfly-start"), "warm");
    assert.equal((await second.text()).split("|")[3], host);
    assert.equal((await record(second))["status"], "succeeded");
  });

  it("get the body, of any length, and give theirs as it comes", async () => {
    const echo = `${head}printf "HTTP/1.1 200 OK\\r\\nconnection: close\\r\\n\\r\\n"; ` +
      `if [ "$length" -gt 0 ]; then head -c "$length"; else cat; fi`;
    await deploy("echo", serve(echo));
    const body = new Uint8Array(3_000_000).fill(97);
    const answer = await call("echo", { method: "POST", body });
    assert.equal(answer.status, 200);
    assert.equal((await answer.arrayBuffer()).byteLength, body.length);
    assert.equal((await call("echo", { method: "POST", body: new Uint8Array(65 * 1024 * 1024) })).status, 413);
    const parts = `${head}printf "HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n3\\r\\none\\r\\n"; ` +
      `until [ -e /seen/go ]; do sleep 0.05; done; printf "3\\r\\ntwo\\r\\n0\\r\\nx-trailer: 1\\r\\n\\r\\n"`;
    await deploy("parts", serve(parts));
    const slow = await call("parts");
    const reader = slow.body?.getReader();
    assert.equal(new TextDecoder().decode((await reader?.read())?.value), "one");
    writeFileSync(join(seen, "go"), "");
    assert.equal(new TextDecoder().decode((await reader?.read())?.value), "two");
    assert.equal((await reader?.read())?.done, true);
    const none = await call("app", { method: "HEAD" });
    assert.equal(none.status, 200);
    assert.equal(await none.text(), "");
  });

  it("are as many as the requests want, and as may be; more requests wait", async () => {
    rmSync(join(seen, "go"));
    const wait =
      `${head}touch "/seen/in-$(cat /proc/sys/kernel/random/uuid)"; until [ -e /seen/go ]; do sleep 0.05; done; ` +
      say("$HOSTNAME");
    await deploy("wait", serve(wait), "--concurrency", "2", "--max-instances", "2");
    const answers = Array.from({ length: 7 }, () => call("wait"));
    const inside = () => readdirSync(seen).filter((name) => name.startsWith("in-")).length;
    await until(() => inside() === 4);
    writeFileSync(join(seen, "go"), "");
    const done = await Promise.all(answers);
    assert.ok(done.every(({ status }) => status === 200));
    assert.equal(new Set(await Promise.all(done.map((answer) => answer.text()))).size, 2);
    assert.equal(inside(), 7);
    await out("rm", "wait");
  });

  it("end when nothing was asked of them, and are there again", async () => {
    for (const name of ["app", "echo", "parts"]) await out("rm", name);
    await count(0);
    await deploy("brief", serve(`${head}${say("$HOSTNAME")}`), "--idle", "0s");
    const first = await (await call("brief")).text();
    await count(0);
    assert.notEqual(await (await call("brief")).text(), first);
    await count(0);
    await out("rm", "brief");
  });

  it("are told of failures by their phase, with the log in the record", async () => {
    await deploy("mute", "echo why it sleeps >&2; exec sleep 1000", "--start-timeout", "300ms");
    const mute = await call("mute");
    assert.equal(mute.status, 504);
    assert.match(await mute.text(), /not ready within 300 ms.*nothing listened on port 8080/);
    assert.match((await record(mute))["stderr"] ?? "", /why it sleeps/);
    await deploy("dead", "echo no configuration; exit 3");
    const dead = await call("dead");
    assert.equal(dead.status, 502);
    assert.match(await dead.text(), /died before it was ready: it ended with exit code 3/);
    assert.match((await record(dead))["stderr"] ?? "", /no configuration/);
    await deploy("odd", serve(`${head}echo SSH-2.0-hello`));
    const odd = await call("odd");
    assert.equal(odd.status, 502);
    assert.match(await odd.text(), /cannot be understood/);
    await deploy("shut", serve(`${head}`));
    const shut = await call("shut");
    assert.equal(shut.status, 502);
    assert.match(await shut.text(), /closed the connection without an answer/);
    await deploy("slow", serve(`${head}sleep 1000`), "--timeout", "300ms");
    assert.equal((await call("slow")).status, 504);
    await deploy("kill", serve(`${head}echo last words >&2; kill -9 1; sleep 1000; ${say("no")}`));
    const pids = (await running()).map(({ pid }) => pid);
    const asked = call("kill");
    // It cannot kill its own first process: somebody else does.
    const victim = await until(async () => (await running()).find(({ pid }) => !pids.includes(pid)));
    await until(async () =>
      (await (await daemon.admin("GET", "/v1/functions/kill/logs")).json() as { items: { phases: unknown[] }[] })
        .items[0]?.phases.length === 1
    );
    process.kill(victim.pid, "SIGKILL");
    const killed = await asked;
    assert.equal(killed.status, 502);
    assert.match(await killed.text(), /died before it had answered: it ended with signal 9/);
    for (const name of ["mute", "dead", "odd", "shut", "slow", "kill"]) await out("rm", name);
    await count(0);
  });

  it("are kept ready, replaced when they die, by a new revision, and behind a crash", async () => {
    const script = serve(`${head}${say("one $HOSTNAME")}`);
    await deploy("kept", script, "--min-instances", "2", "--idle", "0s", "--ready-path", "/health?x=1");
    const before = await running();
    assert.equal(before.length, 2);
    assert.equal((await call("kept")).headers.get("x-mayfly-start"), "warm");
    process.kill(before[0]?.pid ?? 0, "SIGKILL");
    await until(async () => {
      const now = await running();
      return now.length === 2 && now.every(({ pid }) => pid !== before[0]?.pid);
    });
    const answers: Promise<string>[] = [];
    const deployed = deploy("kept", serve(`${head}${say("two $HOSTNAME")}`), "--min-instances", "1");
    let over = false;
    void deployed.finally(() => over = true);
    while (!over) {
      const answer = await call("kept");
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get("x-mayfly-start"), "warm");
      answers.push(answer.text());
    }
    await deployed;
    const wrong = [
      "--image",
      "box:1",
      "--protocol",
      "http",
      "--min-instances",
      "1",
      "--",
      "sh",
      "-c",
      "echo no table; exit 3",
    ];
    assert.match((await run("deploy", "kept", ...wrong)).stderr, /died before it was ready.*exit code 3.*no table/);
    const kept = await call("kept");
    assert.equal(kept.headers.get("x-mayfly-revision"), "kept-00002");
    assert.match(await kept.text(), /^two/);
    assert.match(await answers[0] ?? "", /^one/);
    await count(1);
    await daemon.end("SIGKILL");
    await start();
    await count(1);
    const again = await call("kept");
    assert.match(await again.text(), /^two/);
    assert.equal(again.headers.get("x-mayfly-start"), "warm");
  });

  it("are frozen while no request is there, and thawed by one", async () => {
    const ticks = `(while sleep 0.02; do echo tick >> /seen/ticks; done) & ${serve(`${head}${say("$HOSTNAME")}`)}`;
    await deploy("cold", ticks, "--idle", "1h");
    const { items: before } = await (await daemon.admin("GET", "/v1/tasks")).json() as { items: Running[] };
    const first = await call("cold");
    assert.equal(first.headers.get("x-mayfly-start"), "cold");
    const frozen = () =>
      until(async () => {
        const { items } = await (await daemon.admin("GET", "/v1/tasks")).json() as { items: Running[] };
        return items.some(({ id, status }) => status === "paused" && !before.some((other) => other.id === id));
      });
    await frozen();
    const size = () => statSync(join(seen, "ticks")).size;
    const asleep = size();
    const second = await call("cold");
    assert.equal(second.headers.get("x-mayfly-start"), "frozen");
    assert.equal(await second.text(), await first.text());
    await until(() => size() > asleep);
    assert.equal((await call("cold")).headers.get("x-mayfly-start"), "warm");
    await frozen();
    // What is frozen ends, too.
    await out("rm", "cold");
    await until(async () => {
      const { items } = await (await daemon.admin("GET", "/v1/tasks")).json() as { items: Running[] };
      return items.every(({ id }) => before.some((other) => other.id === id));
    });
  });

  it("are refused where they could not be reached", async () => {
    const flags = ["--image", "box:1", "--protocol", "http"];
    assert.match((await run("deploy", "no", ...flags, "--network", "host")).stderr, /networks of their own/);
    assert.match((await run("deploy", "no", ...flags, "--prepared", "1")).stderr, /minInstances in place/);
    assert.match((await run("deploy", "no", ...flags, "--min-instances", "5")).stderr, /over maxInstances 4/);
    assert.match((await run("deploy", "no", ...flags, "--port", "0")).stderr, /port/);
  });
});
