import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

interface Line {
  readonly requestId: string;
  readonly path: string;
  readonly status: number;
  readonly listener: string;
  readonly caller?: string;
  readonly invocation?: string;
  readonly client?: string;
}

describe("what comes to functions from outside", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-ingress-"));
  const log = join(folder, "access.log");
  let daemon: MayflyProcess;
  const command = (...args: readonly string[]) =>
    mayfly([...args.slice(0, 1), ...stateFlags(folder), ...args.slice(1)]);
  const out = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await command(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const deploy = (name: string, ...args: readonly string[]) => out("deploy", name, "--image", "box:1", ...args);
  const ask = (path: string, init: RequestInit = {}) => fetch(`${daemon.url}${path}`, init);
  /** With a header that `fetch` does not let a program set. */
  const page = async (path: string, origin: string, init: RequestInit = {}) =>
    await ask(path, { ...init, headers: { ...init.headers as Record<string, string>, origin } });
  const lines = (path = log): readonly Line[] =>
    readFileSync(path, "utf8").trimEnd().split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const logged = (requestId: string, path = log) =>
    until(() => lines(path).find((line) => line.requestId === requestId));

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--admin-tcp", "--access-log", log]);
    await out("import", makeBusyboxImage(folder, "box:1"));
    await deploy("id", "--", "sh", "-c", "echo $HTTP_X_REQUEST_ID");
    await deploy("page", "--cors-origin", "https://app.example", "--cors-origin", "http://localhost:3000", "--", "cat");
    await deploy("any", "--cors-origin", "*", "--", "cat");
    await deploy("seldom", "--rate", "2/h", "--", "true");
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  describe("has an id", () => {
    it("of its client where that is sane, else a new one, which the function and the answer have too", async () => {
      const given = await ask("/fn/id", { headers: { "x-request-id": "abc-1.2:3" } });
      assert.deepEqual([given.headers.get("x-request-id"), await given.text()], ["abc-1.2:3", "abc-1.2:3\n"]);
      for (const bad of ["a b", "x".repeat(129), "{}", "-rf"]) {
        const answer = await ask("/fn/id", { headers: { "x-request-id": bad } });
        const id = answer.headers.get("x-request-id") ?? "";
        assert.match(id, /^[0-9a-f-]{36}$/);
        assert.equal(await answer.text(), `${id}\n`);
      }
      assert.match((await ask("/v1/nothing")).headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    });
  });

  describe("is logged", () => {
    it("with who asked for what, and how it went; without queries and tokens", async () => {
      const token = await out("token", "create", "looks", "--scope", "read");
      const authorization = `Bearer ${token}`;
      await ask("/v1/functions?namespace=default", { headers: { "x-request-id": "looked", authorization } });
      const looked = await logged("looked");
      assert.deepEqual(
        [looked.path, looked.status, looked.listener, looked.caller, looked.client],
        ["/v1/functions", 200, "tcp", 'token "looks"', "127.0.0.1"],
      );
      await ask("/v1/functions", { headers: { "x-request-id": "refused" } });
      assert.deepEqual([(await logged("refused")).status, (await logged("refused")).caller], [401, undefined]);
      const answer = await ask("/fn/id?secret=hunter2", { headers: { "x-request-id": "called" } });
      assert.equal((await logged("called")).invocation, answer.headers.get("x-mayfly-invocation"));
      const text = readFileSync(log, "utf8");
      assert.doesNotMatch(text, /hunter2|namespace=|mayfly_[0-9a-f]{16}/);
      assert.equal(statSync(log).mode & 0o777, 0o600);
    });

    it("to a new file where the old one has been renamed", async () => {
      renameSync(log, `${log}.1`);
      await ask("/healthz", { headers: { "x-request-id": "fresh" } });
      await until(() => statSync(log, { throwIfNoEntry: false }));
      assert.equal((await logged("fresh")).path, "/healthz");
      assert.equal((await logged("called", `${log}.1`)).status, 200);
    });

    it("nowhere that cannot be written", async () => {
      for (const where of ["/proc/nothing/log", folder]) {
        const { code, stderr } = await mayfly(["serve", ...stateFlags(join(folder, "other")), "--access-log", where]);
        assert.notEqual(code, 0);
        assert.match(stderr, /cannot write the access log/);
      }
    });
  });

  describe("is refused where it comes too often", () => {
    it("for a function, with when to come again", async () => {
      const answers = [await ask("/fn/seldom"), await ask("/async/fn/seldom"), await ask("/fn/seldom")];
      assert.deepEqual(answers.map(({ status }) => status), [200, 202, 429]);
      assert.equal(answers[0]?.headers.get("ratelimit-policy"), '"function";q=2;w=3600');
      assert.match(answers[0]?.headers.get("ratelimit") ?? "", /^"function";r=1;t=1[78]\d\d$/);
      const last = answers[2];
      assert.match(last?.headers.get("ratelimit") ?? "", /^"limit";r=0;t=\d+$/);
      const after = Number(last?.headers.get("retry-after"));
      assert.ok(after > 1500 && after <= 1800, `${after}`);
      const problem = await last?.json() as { code: string; detail: string };
      assert.equal(problem.code, "resource_exhausted");
      assert.match(problem.detail, /function "seldom" may have 2\/h/);
      // What has been accepted runs, however often the function may be called.
      const { id } = await answers[1]?.json() as { id: string };
      assert.equal(
        await until(async () => {
          const { status } = await (await ask(`/async/calls/${id}`)).json() as { status: string };
          return status === "queued" || status === "running" ? undefined : status;
        }),
        "succeeded",
      );
      await deploy("seldom", "--rate", "3/h", "--", "true");
      assert.equal((await ask("/fn/seldom")).status, 200);
    });

    it("for a token, wherever it is used", async () => {
      const token = await out("token", "create", "slow", "--scope", "read", "--rate", "2/h");
      const headers = { authorization: `Bearer ${token}` };
      const answers = [];
      for (const path of ["/v1/functions", "/v1/images", "/v1/functions"]) answers.push(await ask(path, { headers }));
      assert.deepEqual(answers.map(({ status }) => status), [200, 200, 429]);
      assert.equal(answers[1]?.headers.get("ratelimit-policy"), '"token";q=2;w=3600');
      assert.match((await answers[2]?.json() as { detail: string }).detail, /token "slow" may have 2\/h/);
      const wrong = await command("token", "create", "wrong", "--scope", "read", "--rate", "fast");
      assert.match(wrong.stderr, /wanted requests in a second, a minute or an hour, as 100\/s/);
    });
  });

  describe("from a page", () => {
    it("of an origin that the function names is served, and told so", async () => {
      for (const origin of ["https://app.example", "http://localhost:3000"]) {
        const answer = await page("/fn/page", origin, { method: "POST", body: "hello" });
        assert.deepEqual([answer.status, await answer.text()], [200, "hello"]);
        assert.equal(answer.headers.get("access-control-allow-origin"), origin);
        assert.match(answer.headers.get("vary") ?? "", /Origin/);
        assert.equal(answer.headers.get("access-control-allow-credentials"), null);
      }
      const asked = await page("/fn/page", "https://app.example", {
        method: "OPTIONS",
        headers: { "access-control-request-method": "PUT", "access-control-request-headers": "authorization,x-a" },
      });
      assert.equal(asked.status, 204);
      assert.equal(asked.headers.get("access-control-allow-methods"), "PUT");
      assert.equal(asked.headers.get("access-control-allow-headers"), "authorization,x-a");
      assert.equal(asked.headers.get("x-mayfly-invocation"), null);
      const missing = await page("/fn/page", "https://app.example", {
        method: "POST",
        body: "x".repeat(65 * 1024 ** 2),
      });
      assert.equal(missing.status, 413);
      assert.equal(missing.headers.get("access-control-allow-origin"), "https://app.example");
      assert.equal(
        (await page("/fn/any", "https://elsewhere.example")).headers.get("access-control-allow-origin"),
        "*",
      );
      assert.equal((await page("/async/fn/any", "null")).status, 202);
    });

    it("of any other origin is refused, and so is every page by the admin API", async () => {
      for (const path of ["/fn/page", "/fn/id", "/fn/nothing", "/v1/functions", "/healthz"]) {
        const answer = await page(path, "https://elsewhere.example");
        assert.equal(answer.status, 403, path);
        assert.equal(answer.headers.get("access-control-allow-origin"), null);
        assert.match((await answer.json() as { detail: string }).detail, /--cors-origin for a function/);
      }
      const { stderr } = await command("deploy", "x", "--image", "box:1", "--cors-origin", "app.example/x");
      assert.match(stderr, /wanted an origin as a browser sends it/);
    });
  });
});
