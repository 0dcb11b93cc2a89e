import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

interface Call {
  readonly id: string;
  readonly status: string;
  readonly attempts: number;
  readonly error?: string;
  readonly invocation?: string;
  readonly function: string;
}

describe("asynchronous calls", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-async-"));
  const seen = join(folder, "seen");
  let daemon: MayflyProcess;
  const { out } = commandsOn(folder);
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", "-v", `${seen}:/seen`, ...flags, "--", "sh", "-c", script);
  const start = async () => {
    const flags = ["--log-level", "warn", "--call-retry-ms", "20", "--max-calls", "200", "--call-concurrency", "4"];
    daemon = await MayflyProcess.start(folder, flags);
  };
  const accept = async (name: string, body = "", headers: Record<string, string> = {}): Promise<string> => {
    const answer = await fetch(`${daemon.url}/async/fn/${name}`, { method: "POST", body, headers });
    assert.equal(answer.status, 202);
    const { id, status, url } = await answer.json() as { id: string; status: string; url: string };
    assert.equal(status, "queued");
    assert.equal(answer.headers.get("location"), url);
    assert.equal(answer.headers.get("x-call-id"), id);
    return id;
  };
  const get = async (id: string): Promise<Call> =>
    await (await fetch(`${daemon.url}/async/calls/${id}`)).json() as Call;
  const ended = async (id: string): Promise<Call> => {
    const end = Date.now() + 30_000;
    for (;;) {
      const call = await get(id);
      if (call.status === "succeeded" || call.status === "failed") return call;
      assert.ok(Date.now() < end, JSON.stringify(call));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const answerOf = (id: string) => fetch(`${daemon.url}/async/calls/${id}/answer`);
  const times = (what: string) => readdirSync(seen).filter((name) => name.startsWith(`${what}-`)).length;

  before(async () => {
    mkdirSync(seen, { mode: 0o777 });
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
    await deploy("upper", "tr a-z A-Z; echo $Http_Path $Http_Query $HTTP_X_NAME $HTTP_X_CALL_ID");
    await deploy("never", "touch /seen/never-$HTTP_X_CALL_ID-$MAYFLY_INVOCATION_ID; echo why >&2; exit 3");
    await deploy("third", 'n=$(ls /seen | grep -c third-); touch /seen/third-$n; [ "$n" -ge 2 ] && cat');
    await deploy("wait", "touch /seen/begun-$MAYFLY_INVOCATION_ID; until [ -e /seen/go ]; do sleep 0.05; done; cat");
  });
  after(async () => {
    writeFileSync(join(seen, "go"), "");
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are accepted, run, and answered by their id", async () => {
    const answer = await fetch(`${daemon.url}/fn/upper/a/b?c=d`, {
      method: "POST",
      body: "hello ",
      headers: { prefer: "wait=10, respond-async", "x-name": "Ada", authorization: "Bearer secret" },
    });
    assert.equal(answer.status, 202);
    assert.equal(answer.headers.get("preference-applied"), "respond-async");
    const { id } = await answer.json() as Call;
    const call = await ended(id);
    assert.equal(call.status, "succeeded", call.error);
    assert.equal(call.attempts, 1);
    assert.equal(await (await answerOf(id)).text(), `HELLO /a/b c=d Ada ${id}\n`);
    assert.equal((await daemon.admin("GET", `/v1/invocations/${call.invocation}`)).status, 200);
    const other = (await out("invoke", "upper", "--async", "--data", "by hand")).trim();
    assert.equal((await ended(other)).status, "succeeded");
    assert.match(await out("calls", "--function", "upper"), new RegExp(`^${other} +upper +succeeded +1 `, "m"));
  });

  it("are tried again where they fail, and kept as dead letters, to be replayed", async () => {
    const third = await ended(await accept("third", "at last"));
    assert.deepEqual([third.status, third.attempts], ["succeeded", 3]);
    assert.equal(await (await answerOf(third.id)).text(), "at last");
    const dead = await ended(await accept("never"));
    assert.deepEqual([dead.status, dead.attempts], ["failed", 3]);
    assert.match(dead.error ?? "", /exit code 3/);
    const problem = await answerOf(dead.id);
    assert.equal(problem.status, 500);
    assert.match(await problem.text(), /exit code 3/);
    assert.equal(times("never"), 3);
    const { items } = await (await daemon.admin("GET", "/v1/calls?status=failed")).json() as { items: Call[] };
    assert.deepEqual(items.map(({ id }) => id), [dead.id]);
    await deploy("never", "echo mended");
    assert.equal((await daemon.admin("POST", `/v1/calls/${dead.id}/replay`)).status, 200);
    assert.equal((await ended(dead.id)).status, "succeeded");
    assert.equal((await daemon.admin("POST", `/v1/calls/${dead.id}/replay`)).status, 409);
    assert.equal((await daemon.admin("DELETE", `/v1/calls/${dead.id}`)).status, 204);
    assert.equal((await fetch(`${daemon.url}/async/calls/${dead.id}`)).status, 404);
  });

  it("are refused before they are accepted where they never could run", async () => {
    const post = (path: string, body = "") => fetch(`${daemon.url}${path}`, { method: "POST", body });
    assert.equal((await post("/async/fn/nothing")).status, 404);
    assert.equal((await post("/async/fn/upper", "x".repeat(300_000))).status, 413);
    assert.equal((await fetch(`${daemon.url}/async/calls/nothing`)).status, 404);
    assert.equal((await fetch(`${daemon.url}/v1/calls`)).status, 403);
  });

  it("of one function do not hold up those of another, and survive a crash, none lost or run twice at once", async () => {
    const waiting: string[] = [];
    for (let i = 0; i < 40; i++) waiting.push(await accept("wait", `${i}`));
    const first = await get(waiting[0] ?? "");
    assert.ok(first.status === "running" || first.status === "queued");
    assert.equal((await answerOf(waiting[0] ?? "")).status, 202);
    const end = Date.now() + 20_000;
    while (times("begun") < 4 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(times("begun"), 4);
    await daemon.end("SIGKILL");
    await start();
    writeFileSync(join(seen, "go"), "");
    const calls = await Promise.all(waiting.map(ended));
    assert.ok(calls.every(({ status }) => status === "succeeded"), JSON.stringify(calls));
    const texts = await Promise.all(waiting.map(async (id) => (await answerOf(id)).text()));
    assert.deepEqual(texts, waiting.map((_, i) => `${i}`));
    // Those that the crash has interrupted, once more.
    assert.equal(times("begun"), 44);
    const upper = await ended(await accept("upper", "last"));
    assert.equal(upper.status, "succeeded");
  });

  it("come by the clock, and one after the other where they take longer", async () => {
    rmSync(join(seen, "go"));
    const of = async (name: string) => {
      const { items } = await (await daemon.admin("GET", `/v1/calls?function=${name}`)).json() as { items: Call[] };
      return items;
    };
    const schedule = ["--schedule", "* * * * * *"];
    await deploy("tick", 'cat; echo "$HTTP_X_MAYFLY_SCHEDULE"', ...schedule);
    await deploy("slow", "until [ -e /seen/go ]; do sleep 0.05; done", ...schedule);
    const end = Date.now() + 30_000;
    while ((await of("tick")).length < 3 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
    const [, , third] = await of("tick");
    assert.equal(await (await answerOf((await ended(third?.id ?? "")).id)).text(), "* * * * * *\n");
    assert.equal((await of("slow")).length, 1);
    writeFileSync(join(seen, "go"), "");
    await out("rm", "tick");
    await deploy("slow", "true");
    const { length } = await of("tick");
    // The clock of another has gone on meanwhile.
    await deploy("beat", "true", ...schedule);
    while ((await of("beat")).length < 3 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal((await of("tick")).length, length);
    await out("rm", "beat");
    const wrong = await mayfly([
      "deploy",
      ...stateFlags(folder),
      "tick",
      "--image",
      "box:1",
      "--schedule",
      "61 * * * *",
    ]);
    assert.match(wrong.stderr, /cannot schedule "61 \* \* \* \*".*five or six fields/);
  });

  it("come late, where the clock's runs fell into a time without a daemon", async () => {
    const every = [{ cron: "* * * * * *", overlap: "queue" }];
    const put = async (name: string, missed: string) => {
      const schedules = every.map((schedule) => ({ ...schedule, missed }));
      const input = { image: "box:1", command: ["sh", "-c", 'echo "$HTTP_X_MAYFLY_SCHEDULED_AT"'], schedules };
      assert.equal((await daemon.admin("PUT", `/v1/functions/${name}`, input)).status, 201);
    };
    for (const missed of ["all", "once", "skip"]) await put(missed, missed);
    /** The seconds for which a function was called, in order. */
    const seconds = async (name: string) => {
      const { items } = await (await daemon.admin("GET", `/v1/calls?function=${name}&limit=1000`)).json() as {
        items: Call[];
      };
      const answers = await Promise.all(
        items.map(async ({ id }) => (await ended(id), await (await answerOf(id)).text())),
      );
      return answers.map((text) => Date.parse(text.trim()) / 1000).sort((a, b) => a - b);
    };
    await until(async () => (await seconds("all")).length >= 2);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    const from = Math.floor(Date.now() / 1000) + 1;
    await until(() => Date.now() / 1000 > from + 4);
    const to = from + 3;
    await start();
    await until(async () => (await seconds("skip")).at(-1)! > to + 1);
    const away = async (name: string) => (await seconds(name)).filter((second) => second >= from && second <= to);
    assert.deepEqual(await away("all"), [from, from + 1, from + 2, to]);
    assert.deepEqual(await away("skip"), []);
    // The latest may have come while the daemon was on its way.
    assert.ok((await away("once")).length <= 1);
    const all = await seconds("all");
    assert.equal(new Set(all).size, all.length);
    for (const name of ["all", "once", "skip"]) await out("rm", name);
  });

  it("are as many as may wait", async () => {
    rmSync(join(seen, "go"));
    for (const status of ["queued", "running"]) {
      await until(async () => {
        const { items } = await (await daemon.admin("GET", `/v1/calls?status=${status}`)).json() as { items: Call[] };
        return items.length === 0;
      });
    }
    const begun = times("begun");
    // Those that run don't wait any more.
    for (let i = 0; i < 4; i++) await accept("wait");
    await until(() => times("begun") === begun + 4);
    const statuses: number[] = [];
    for (let i = 0; i < 206; i++) {
      statuses.push((await fetch(`${daemon.url}/async/fn/wait`, { method: "POST", body: "x" })).status);
    }
    assert.equal(statuses.filter((status) => status === 202).length, 200);
    assert.equal(statuses.at(-1), 429);
    writeFileSync(join(seen, "go"), "");
  });
});
