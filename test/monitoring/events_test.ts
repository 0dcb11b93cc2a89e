import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EventBus } from "../../src/monitoring/events.ts";

describe("EventBus", () => {
  it("tells those who asked for a topic's beginning, until they stop", () => {
    const events = new EventBus(() => assert.fail("nobody throws"));
    const seen: string[] = [];
    const stop = events.subscribe(
      "/tasks/",
      ({ topic, namespace, data }) => seen.push(`${topic} ${namespace} ${data["id"]}`),
    );
    const all: Date[] = [];
    events.subscribe("", ({ at }) => all.push(at));
    events.publish("/tasks/exit", "default", { id: "a" });
    events.publish("/images/create", "default", { name: "x" });
    stop();
    events.publish("/tasks/exit", "default", { id: "b" });
    assert.deepEqual(seen, ["/tasks/exit default a"]);
    assert.equal(all.length, 3);
    assert.ok(all[0] instanceof Date);
  });

  it("reports a listener that throws, and tells the others", () => {
    const reported: unknown[] = [];
    const events = new EventBus((error, what) => reported.push([error, what]));
    const error = new Error("broken");
    events.subscribe("", () => {
      throw error;
    });
    let told = 0;
    events.subscribe("", () => told++);
    events.publish("/tasks/oom", "default", {});
    assert.equal(told, 1);
    assert.deepEqual(reported, [[error, "a listener of /tasks/oom failed"]]);
  });

  it("lets a listener stop itself and subscribe others while it is told", () => {
    const events = new EventBus(() => assert.fail("nobody throws"));
    let first = 0;
    const stop = events.subscribe("", () => {
      first++;
      stop();
    });
    events.publish("/a", "default", {});
    events.publish("/a", "default", {});
    assert.equal(first, 1);
  });
});
