import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { problemResponse, statuses } from "../../src/api/errors.ts";
import { type ErrorCode, errorCodes, Failure } from "../../src/core/errors.ts";
import {
  bodyTooLarge,
  bodyTooSlow,
  cancelled,
  exitFailure,
  startFailed,
  timedOut,
} from "../../src/functions/failures.ts";

const usage = {
  cpuMicros: undefined,
  memoryBytes: undefined,
  memoryPeakBytes: undefined,
  pids: undefined,
  ioReadBytes: undefined,
  ioWriteBytes: undefined,
};
const ended = (code: number, oomKilled = false) => ({
  code,
  signal: undefined,
  exitedAt: new Date(),
  oomKilled,
  usage,
});
const exit = (code: number, oomKilled = false) => {
  const failure = exitFailure(ended(code, oomKilled), { memoryBytes: 1 });
  assert.ok(failure);
  return failure;
};

describe("problemResponse()", () => {
  for (const code of errorCodes satisfies readonly ErrorCode[]) {
    it(`answers ${code}`, async () => {
      const answer = problemResponse(new Failure(code, "what happened"));
      assert.equal(answer.status, statuses[code]);
      assert.equal(answer.headers.get("content-type"), "application/problem+json");
      const problem = await answer.json();
      assert.equal(problem.code, code);
      assert.equal(problem.status, answer.status);
      assert.equal(problem.detail, "what happened");
      assert.notEqual(problem.title, "Error");
    });
  }

  for (
    const [name, failure, status, type] of [
      ["a body over the limit", bodyTooLarge(5), 413, "body-too-large"],
      ["a body that comes too slowly", bodyTooSlow(5, 1), 408, "body-too-slow"],
      ["a timeout", timedOut(5), 504, "timeout"],
      ["an exit code", exit(3), 500, "exit-code"],
      ["an exit out of space", exitFailure(ended(1), { memoryBytes: 1 }, "full") as Failure, 500, "out-of-space"],
      ["an exit out of memory", exit(137, true), 500, "out-of-memory"],
      ["a command that is not there", startFailed(new Failure("not_found", "no /x")), 500, "start-failed"],
      ["a machine that is full", startFailed(new Failure("resource_exhausted", "no space")), 503, "no-capacity"],
      ["a caller that went away", cancelled(), 499, "cancelled"],
    ] as const
  ) {
    it(`tells ${name} apart`, async () => {
      const answer = problemResponse(failure);
      assert.equal(answer.status, status);
      const problem = await answer.json();
      assert.equal(problem.type, `urn:mayfly:problem:${type}`);
      assert.equal(problem.reason, undefined);
    });
  }

  it("has facts as fields, and in headers where there is one", async () => {
    const details = { invocation: "01id", retryAfterSeconds: 2, limit: 3 };
    const answer = problemResponse(new Failure("resource_exhausted", "full", { details }));
    assert.equal(answer.headers.get("retry-after"), "2");
    assert.equal(answer.headers.get("x-mayfly-invocation"), "01id");
    assert.equal((await answer.json()).limit, 3);
  });

  it("keeps a defect's text to itself", async () => {
    const answer = problemResponse(new TypeError("secret is not a function"));
    assert.equal(answer.status, 500);
    assert.ok(!(await answer.text()).includes("secret"));
  });

  it("asks for a token", () => {
    const answer = problemResponse(new Failure("unauthenticated", "who?"));
    assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer/);
  });
});
