import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { checkSchedules, mostMissed, type Schedule, Timetable } from "../../src/functions/timetable.ts";

const at = (text: string) => Date.parse(`${text}Z`);
const schedule = (fields: Partial<Schedule> = {}): Schedule => ({
  cron: "0 * * * *",
  timeZone: "UTC",
  body: "",
  overlap: "queue",
  missed: "skip",
  missedWithinMs: 24 * 3600_000,
  ...fields,
});
const hours = (times: readonly number[]) => times.map((time) => new Date(time).toISOString().slice(5, 16));

describe("Timetable", () => {
  it("due() gives a run when its time has come, and once", () => {
    const table = new Timetable(schedule(), at("2026-03-01T09:30"));
    assert.equal(table.next, at("2026-03-01T10:00"));
    assert.deepEqual(table.due(at("2026-03-01T09:59:59.999"), schedule()), []);
    const now = at("2026-03-01T10:00");
    assert.deepEqual(table.due(now, schedule()), [now]);
    table.passed(now);
    assert.deepEqual(table.due(now + 5, schedule()), []);
    assert.equal(table.next, at("2026-03-01T11:00"));
  });

  const missed: readonly (readonly [string, Partial<Schedule>, readonly string[]])[] = [
    ["skip gives none", { missed: "skip" }, []],
    ["once gives the latest", { missed: "once" }, ["03-01T14:00"]],
    ["all gives each, the oldest first", { missed: "all" }, ["03-01T12:00", "03-01T13:00", "03-01T14:00"]],
    ["all gives none that is too old", { missed: "all", missedWithinMs: 2 * 3600_000 }, ["03-01T13:00", "03-01T14:00"]],
    ["once gives none that is too old", { missed: "once", missedWithinMs: 60_000 }, []],
  ];
  for (const [criterion, fields, wanted] of missed) {
    it(`due() of what was missed: ${criterion}`, () => {
      const table = new Timetable(schedule(fields), at("2026-03-01T11:30"));
      assert.deepEqual(hours(table.due(at("2026-03-01T14:30"), schedule(fields))), wanted);
    });
  }

  it("due() gives a run that is late by a moment, whatever the policy", () => {
    const table = new Timetable(schedule(), at("2026-03-01T11:30"));
    assert.deepEqual(hours(table.due(at("2026-03-01T12:00:15"), schedule())), ["03-01T12:00"]);
  });

  it("due() gives the newest of very many", () => {
    const each = schedule({ cron: "* * * * * *", missed: "all" });
    const now = at("2026-03-02T00:00");
    const due = new Timetable(each, at("2025-03-01T00:00")).due(now, each);
    assert.equal(due.length, mostMissed);
    assert.equal(due.at(-1), now);
  });

  it("a clock that is set back by little repeats nothing", () => {
    const table = new Timetable(schedule({ missed: "all" }), at("2026-03-01T12:00:30"));
    assert.deepEqual(table.due(at("2026-03-01T10:00:00"), schedule({ missed: "all" })), []);
    assert.equal(table.next, at("2026-03-01T13:00"));
  });

  it("a clock that was years ahead, and is set right, goes on from there", () => {
    const once = schedule({ missed: "once" });
    const table = new Timetable(once, at("2031-01-01T00:00"));
    const now = at("2026-03-01T10:30");
    assert.deepEqual(table.due(now, once), []);
    assert.equal(table.next, at("2026-03-01T11:00"));
  });

  it("a clock that is years behind, and is set right, makes up for what is not too old", () => {
    const all = schedule({ missed: "all", missedWithinMs: 3600_000 });
    const table = new Timetable(all, at("1970-01-01T00:00"));
    assert.deepEqual(hours(table.due(at("2026-03-01T10:30"), all)), ["03-01T10:00"]);
  });

  it("a pattern that never comes is never due", () => {
    const never = schedule({ cron: "0 0 30 2 *" });
    const table = new Timetable(never, 0);
    assert.equal(table.next, undefined);
    assert.deepEqual(table.due(at("2026-03-01T10:00"), never), []);
  });
});

describe("checkSchedules()", () => {
  for (
    const [name, fields] of [
      ["a pattern that is none", { cron: "61 * * * *" }],
      ["a time zone that is none", { timeZone: "Mars/Olympus" }],
      ["all missed runs, of which overlap leaves all but one out", { missed: "all", overlap: "skip" }],
    ] as const
  ) {
    it(`refuses ${name}`, () => {
      assert.throws(() => checkSchedules([schedule(), schedule(fields)]), (error) => {
        assert.equal(codeOf(error), "invalid_argument");
        assert.match(String(error), /cannot schedule .* want /);
        return true;
      });
    });
  }
});
