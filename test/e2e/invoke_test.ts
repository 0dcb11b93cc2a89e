import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

interface ProblemJson {
  readonly type: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly exitCode?: number;
  readonly invocation?: string;
  readonly field?: string;
}

/** curl's exit codes for an answer that was cut. */
const cut: readonly (number | null)[] = [18, 52, 55, 56];

describe("invoking a function", () => {
  let world: World;

  before(async () => {
    world = await World.open();
    await world.script("cat", "exec cat", { contentType: "text/plain; charset=utf-8" });
    await world.script("env", "exec env");
    await world.script("slow", "echo begun; exec sleep 30", { concurrency: 1 });
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  it("gives the body to a fresh container and its output back", async () => {
    const answer = await world.curl("/fn/cat", "--data-binary", "hello");
    assert.deepEqual([answer.code, answer.status, answer.body], [0, 200, "hello"]);
    assert.equal(answer.headers.get("content-type"), "text/plain; charset=utf-8");
    assert.equal(answer.headers.get("content-length"), "5");
    assert.match(answer.headers.get("server-timing") ?? "", /^prepare;dur=[\d.]+, create;dur=[\d.]+, start;dur=[\d.]+/);
  });

  it("records it", async () => {
    const record = await world.record(await world.curl("/fn/cat", "--data-binary", "hello"));
    assert.deepEqual(
      [record.function, record.status, record.exitCode, record.requestBytes, record.responseBytes],
      ["cat", "succeeded", 0, 5, 5],
    );
    const names = record.phases.map(({ name }) => name).filter((name) => name !== "first_byte");
    assert.deepEqual(names, ["prepare", "create", "start", "run", "exit", "cleanup"]);
    for (const [i, phase] of record.phases.entries()) {
      const before = record.phases[i - 1];
      assert.ok(Math.abs(phase.startMs - (before === undefined ? 0 : before.startMs + before.durationMs)) < 1e-6);
    }
    assert.ok((record.durationMs ?? 0) > 0);
    assert.ok((record.memoryPeakBytes ?? 0) > 0);
  });

  it("names the request in the environment, and nothing of the daemon", async () => {
    const answer = await world.curl(
      "/fn/env/a%20b?x=1&y=%2F",
      ...["-H", "X-Color: red", "-H", "Proxy: http://evil", "-H", "Authorization: Bearer secret"],
    );
    const lines = answer.body.trimEnd().split("\n");
    for (
      const line of [
        "REQUEST_METHOD=GET",
        "PATH_INFO=/a b",
        "SCRIPT_NAME=/fn/env",
        "QUERY_STRING=x=1&y=%2F",
        "HTTP_X_COLOR=red",
        `MAYFLY_INVOCATION_ID=${answer.headers.get("x-mayfly-invocation")}`,
      ]
    ) assert.ok(lines.includes(line), `${line} is not in ${answer.body}`);
    assert.ok(!/evil|secret|HTTP_PROXY|MAYFLY_ROOT/.test(answer.body));
  });

  it("hands the caller's trace on", async () => {
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    const answer = await world.curl("/fn/env", "-H", `traceparent: 00-${trace}-00f067aa0ba902b7-01`);
    assert.match(answer.body, new RegExp(`^TRACEPARENT=00-${trace}-[0-9a-f]{16}-[0-9a-f]{2}$`, "m"));
    assert.equal((await world.record(answer)).traceId, trace);
  });

  it("without a body has an empty stdin", async () => {
    assert.deepEqual((({ status, body }) => [status, body])(await world.curl("/fn/cat")), [200, ""]);
    assert.deepEqual((({ status, body }) => [status, body])(await world.curl("/fn/cat", "-d", "")), [200, ""]);
  });

  it("answers HEAD without a body, however much the function writes", async () => {
    await world.script("megabyte", "head -c 1048576 /dev/zero");
    const answer = await world.curl("/fn/megabyte", "-I");
    assert.deepEqual([answer.code, answer.status, answer.body], [0, 200, ""]);
  });

  it("keeps one invocation's files from the next", async () => {
    await world.script("mark", "cat /mark 2>/dev/null; echo here > /mark; cat /mark");
    for (let i = 0; i < 2; i++) assert.equal((await world.curl("/fn/mark")).body, "here\n");
  });

  it("streams what comes late", async () => {
    await world.script("steps", "for i in 1 2 3; do echo $i; sleep 0.2; done");
    const answer = await fetch(`${world.url}/fn/steps`);
    const begun = performance.now();
    const pieces: string[] = [];
    for await (const piece of answer.body ?? []) pieces.push(new TextDecoder().decode(piece));
    assert.equal(pieces.join(""), "1\n2\n3\n");
    assert.ok(pieces.length >= 2, `it came in ${pieces.length} piece`);
    assert.ok(performance.now() - begun > 200, "the head waited for the end");
  });

  it("carries large bodies both ways", async () => {
    await world.script("count", "wc -c");
    const body = new Uint8Array(20 * 1024 * 1024);
    const counted = await fetch(`${world.url}/fn/count`, { method: "POST", body });
    assert.equal((await counted.text()).trim(), String(body.length));
    const echoed = await fetch(`${world.url}/fn/cat`, { method: "POST", body });
    assert.equal((await echoed.arrayBuffer()).byteLength, body.length);
  });

  describe("that fails", () => {
    const problem = (answer: { readonly body: string }) => JSON.parse(answer.body) as ProblemJson;

    it("with an exit code is 500, and its stderr is in the record alone", async () => {
      await world.script("fail", "echo out; echo secret >&2; exit 3");
      const answer = await world.curl("/fn/fail");
      assert.equal(answer.status, 500);
      assert.equal(answer.headers.get("content-type"), "application/problem+json");
      const { type, exitCode, invocation } = problem(answer);
      assert.deepEqual([type, exitCode], ["urn:mayfly:problem:exit-code", 3]);
      assert.equal(answer.headers.get("x-mayfly-invocation"), invocation);
      assert.match(answer.headers.get("server-timing") ?? "", /^prepare;dur=.*, run;dur=/);
      assert.ok(!answer.body.includes("secret") && !answer.body.includes("out\n"));
      const record = await world.record(answer);
      assert.deepEqual([record.status, record.exitCode, record.stderr], ["failed", 3, "secret\n"]);
    });

    it("after its head has left cuts the connection", async () => {
      await world.script("late", "echo begun; sleep 0.3; exit 4");
      const answer = await world.curl("/fn/late");
      assert.equal(answer.status, 200);
      assert.ok(cut.includes(answer.code), `curl ended with ${answer.code}`);
      assert.deepEqual((({ status, exitCode }) => [status, exitCode])(await world.record(answer)), ["failed", 4]);
    });

    it("by its time is 504", async () => {
      await world.script("timeout", "sleep 30", { timeoutMs: 200 });
      const begun = performance.now();
      const answer = await world.curl("/fn/timeout");
      assert.equal(answer.status, 504);
      assert.ok(performance.now() - begun < 5000);
      assert.equal((await world.record(answer)).status, "timeout");
    });

    it("by its memory is told apart", async () => {
      const memoryBytes = 24 * 1024 * 1024;
      await world.script("oom", "head -c 100m /dev/zero | tail -c 100m | wc -c >&2; exit 1", { memoryBytes });
      await world.script("oom-self", "exec tail -c 100m /dev/zero", { memoryBytes });
      for (const name of ["oom", "oom-self"]) {
        const answer = await world.curl(`/fn/${name}`);
        assert.equal(answer.status, 500);
        assert.equal(problem(answer).type, "urn:mayfly:problem:out-of-memory");
        assert.equal((await world.record(answer)).status, "oom");
      }
    });

    it("where no space was left names the limits that it may have met", async () => {
      const MiB = 1024 * 1024;
      const fill = (path: string) => `dd if=/dev/zero of=${path} bs=64k`;
      const mounts = [{ type: "tmpfs", target: "/mem", sizeBytes: 512 * 1024 }];
      const limits = { scratchBytes: 16 * MiB, mounts };
      await world.script("full", fill("/file"), limits);
      await world.script("full-mount", fill("/mem/file"), limits);
      await world.script("full-said", "echo no space left on device >&2; exit 1", { scratchBytes: 200 * MiB });
      const full = await world.curl("/fn/full");
      assert.equal(full.status, 500);
      assert.equal(problem(full).type, "urn:mayfly:problem:out-of-space");
      assert.match(full.body, /exit code 1: .*its root filesystem may have 16777216 bytes \(scratchBytes\)/);
      const { status, exitCode } = await world.record(full);
      assert.deepEqual([status, exitCode], ["failed", 1]);
      assert.match((await world.curl("/fn/full-mount")).body, /\/mem may have 524288 bytes \(mounts\)/);
      // What it has had of memory tells that it cannot be true.
      assert.equal(problem(await world.curl("/fn/full-said")).type, "urn:mayfly:problem:exit-code");
    });

    it("for a command that cannot be executed names it", async () => {
      await world.admin("PUT", "/v1/functions/text", { image: "box:1", command: ["/etc/passwd"] });
      const answer = await world.curl("/fn/text");
      assert.equal(answer.status, 500);
      assert.equal(problem(answer).exitCode, 126);
      assert.match(problem(answer).detail, /\/etc\/passwd/);
      assert.equal((await world.record(answer)).status, "error");
    });

    it("for want of its command is known at its deployment", async () => {
      const answer = await world.ask("PUT", "/v1/functions/nothing", { image: "box:1", command: ["/bin/nothing"] });
      assert.equal(answer.status, 400);
      assert.match((await answer.json() as { detail: string }).detail, /"\/bin\/nothing": it is not in the image/);
    });

    it("for too large a body is 413, by its length or on its way", async () => {
      await world.script("small", "wc -c", { maxBodyBytes: 1000 });
      const body = "x".repeat(1001);
      for (const more of [[], ["-H", "Transfer-Encoding: chunked"]]) {
        const answer = await world.curl("/fn/small", "--data-binary", body, ...more);
        assert.equal(answer.status, 413);
        assert.equal(problem(answer).type, "urn:mayfly:problem:body-too-large");
      }
      assert.equal((await world.curl("/fn/small", "--data-binary", "x".repeat(1000))).body.trim(), "1000");
    });
  });

  it("whose body does not come in time is 408, and its place is free", async () => {
    await world.script("patient", "wc -c", { bodyTimeoutMs: 50, concurrency: 1 });
    for (let i = 0; i < 2; i++) {
      const socket = connect(Number(new URL(world.url).port), "127.0.0.1");
      socket.write("POST /fn/patient HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab");
      const [answer] = await once(socket, "data");
      assert.match(String(answer), /^HTTP\/1\.1 408 /);
      socket.destroy();
      assert.match((await world.last("patient")).error ?? "", /2 bytes of it were there/);
    }
  });

  it("is told where it comes from, and believes no header about that", async () => {
    await world.script("whence", "echo $REMOTE_ADDR $REMOTE_HOST; test $REMOTE_PORT -gt 0");
    const answer = await world.curl("/fn/whence", "-H", "X-Forwarded-For: 192.0.2.1");
    assert.deepEqual([answer.status, answer.body], [200, "127.0.0.1 127.0.0.1\n"]);
  });

  it("that nobody deployed is 404", async () => {
    const answer = await world.curl("/fn/nobody");
    assert.equal(answer.status, 404);
    assert.match(answer.body, /\\"nobody\\"/);
  });

  for (const path of ["/fn/UPPER", "/fn/a_b", "/fn/-", "/fn/cat.Team", `/fn/${"a".repeat(64)}`, "/fn/env/%00"]) {
    it(`refuses the name ${path.slice(0, 20)}`, async () => {
      assert.equal((await world.curl(path)).status, 400);
    });
  }

  it("one more than its concurrency is 429 with Retry-After, and a client that goes away kills its container", async () => {
    const leaving = new AbortController();
    const first = await fetch(`${world.url}/fn/slow`, { signal: leaving.signal });
    const second = await world.curl("/fn/slow");
    assert.equal(second.status, 429);
    assert.match(second.headers.get("retry-after") ?? "", /^\d+$/);
    leaving.abort();
    await assert.rejects(first.text());
    const record = await world.last("slow");
    assert.equal(record.status, "cancelled");
    await until(async () => await world.running() === 0);
    const third = new AbortController();
    const again = await fetch(`${world.url}/fn/slow`, { signal: third.signal });
    assert.equal(again.status, 200);
    third.abort();
    await until(async () => await world.running() === 0);
  });

  it("kills the container of a client that goes away before an answer", async () => {
    await world.script("silent", "exec sleep 30");
    const answer = await world.curl("/fn/silent", "-m", "0.5");
    assert.equal(answer.code, 28);
    assert.equal((await world.last("silent")).status, "cancelled");
    await until(async () => await world.running() === 0);
  });

  it("kills the container of a client that breaks its body off", async () => {
    const leaving = new AbortController();
    const body = new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        if (leaving.signal.aborted) controller.close();
        else controller.enqueue(new Uint8Array(10));
      },
    });
    await world.script("reader", "wc -c");
    const init = { method: "POST", body, duplex: "half", signal: leaving.signal } as RequestInit;
    const sent = fetch(`${world.url}/fn/reader`, init);
    setTimeout(() => leaving.abort(), 500);
    await assert.rejects(sent);
    assert.equal((await world.last("reader")).status, "cancelled");
    await until(async () => await world.running() === 0);
  });

  it("waits for no reader of a body that it does not want", async () => {
    await world.script("ignore", "echo done");
    const answer = await fetch(`${world.url}/fn/ignore`, { method: "POST", body: new Uint8Array(1024 * 1024) });
    assert.equal(await answer.text(), "done\n");
  });

  it("many at once gives each its own answer", async () => {
    const answers = await Promise.all(Array.from({ length: 24 }, async (_, i) => {
      const answer = await fetch(`${world.url}/fn/cat`, { method: "POST", body: `request ${i}` });
      return await answer.text();
    }));
    assert.deepEqual(answers, Array.from({ length: 24 }, (_, i) => `request ${i}`));
  });

  it("goes on with the revision it began with", async () => {
    await world.script("version", "sleep 0.5; echo one");
    const first = world.curl("/fn/version");
    await until(async () => await world.running() === 1);
    await world.script("version", "echo two");
    assert.equal((await world.curl("/fn/version")).body, "two\n");
    const answer = await first;
    assert.equal(answer.body, "one\n");
    assert.equal((await world.record(answer)).revision, 1);
  });

  it("finishes after its function has been deleted", async () => {
    await world.script("gone", "sleep 0.5; echo still");
    const first = world.curl("/fn/gone");
    await until(async () => await world.running() === 1);
    await world.admin("DELETE", "/v1/functions/gone");
    assert.equal((await world.curl("/fn/gone")).status, 404);
    assert.equal((await first).body, "still\n");
  });

  it("works on a snapshotter without overlay", async () => {
    await world.script("copied", "echo mine > /file; cat /file", { snapshotter: "native" });
    for (let i = 0; i < 2; i++) assert.equal((await world.curl("/fn/copied")).body, "mine\n");
  });

  it("keeps namespaces apart", async () => {
    await world.admin("POST", "/v1/images/import?namespace=team", {
      path: join(world.folder, "layout"),
      name: "box:1",
    });
    await world.admin("PUT", "/v1/functions/hello?namespace=team", { image: "box:1", command: ["/bin/echo", "team"] });
    const answer = await world.curl("/fn/hello.team");
    assert.equal(answer.body, "team\n");
    assert.equal((await world.curl("/fn/hello")).status, 404);
    const id = answer.headers.get("x-mayfly-invocation");
    assert.equal((await world.ask("GET", `/v1/invocations/${id}`)).status, 404);
    assert.equal((await world.ask("GET", `/v1/invocations/${id}?namespace=team`)).status, 200);
  });

  it("leaves nothing behind", async () => {
    await until(async () => await world.running() === 0);
    const left = () => [...cgroups(world.cgroup), ...mounts(world.folder), ...snapshots(world.folder)];
    // Cgroups are kept for a second, in case another container wants the same limits.
    await until(() => Promise.resolve(left().length === 0));
  });
});

describe("shutting down", () => {
  it("refuses new work, finishes what runs, and then is gone", async () => {
    await using world = await World.open();
    await world.script("nap", "sleep 0.5; echo rested");
    const running = world.curl("/fn/nap");
    await until(async () => await world.running() === 1);
    const drained = world.drain();
    assert.equal((await world.ask("POST", "/fn/nap")).status, 503);
    assert.equal((await running).body, "rested\n");
    await drained;
    assert.deepEqual(mounts(world.folder), []);
  });
});

function cgroups(parent: string): string[] {
  const root = "/sys/fs/cgroup";
  return ["", ...readdirSync(root)]
    .map((hierarchy) => join(root, hierarchy, parent))
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name)
    );
}

function mounts(folder: string): string[] {
  return readFileSync("/proc/self/mounts", "utf8").split("\n").filter((line) => line.includes(folder));
}

/** Folders of native's snapshots beside its one committed layer. */
function snapshots(folder: string): string[] {
  const path = join(folder, "root/snapshots/native");
  return existsSync(path) ? readdirSync(path).slice(1) : [];
}
