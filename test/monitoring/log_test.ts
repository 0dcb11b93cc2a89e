import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/core/errors.ts";
import { Log } from "../../src/monitoring/log.ts";

function open(level?: ConstructorParameters<typeof Log>[0]) {
  const lines: string[] = [];
  return {
    log: new Log(level, (line) => lines.push(line)),
    lines,
    parsed: () => lines.map((line) => JSON.parse(line)),
  };
}

describe("Log", () => {
  it("writes one line of JSON for each message", () => {
    const { log, lines, parsed } = open();
    log.info("pulled", { image: "x\ny" });
    assert.equal(lines[0]?.includes("\n"), false);
    const [{ time, ...rest }] = parsed();
    assert.deepEqual(rest, { level: "info", message: "pulled", image: "x\ny" });
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 10_000);
  });

  it("leaves out what is below its level", () => {
    const { log, parsed } = open("warn");
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    assert.deepEqual(parsed().map(({ message }) => message), ["c", "d"]);
  });

  it("tells of an error its code and causes, and the stack of one of no known kind", () => {
    const { log, parsed } = open();
    log.error("cannot pull", new Failure("unavailable", "no answer", { cause: new Error("refused") }));
    log.error("cannot pull", new TypeError("x is undefined"));
    const [known, unknown] = parsed();
    assert.deepEqual([known.error, known.code, known.causes, known.stack], [
      "no answer",
      "unavailable",
      ["refused"],
      undefined,
    ]);
    assert.match(unknown.stack, /TypeError: x is undefined/);
  });
});
