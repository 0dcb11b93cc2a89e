import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

const module = fileURLToPath(new URL("../support/plain_runtime.ts", import.meta.url));

describe("a task whose runtime has no abilities", () => {
  let world: World;
  let id = "";

  before(async () => {
    world = await World.open({ "plugin-modules": module });
    ({ id } = await world.admin<{ id: string }>("POST", "/v1/containers", {
      image: "box:1",
      runtime: "plain",
      command: ["/bin/sh", "-c", "echo out; exec sleep 60"],
    }));
    await world.admin("POST", `/v1/containers/${id}/start`);
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const size = { width: 80, height: 24 };
  const settings = encodeURIComponent(JSON.stringify({ command: ["true"] }));
  for (
    const [method, path, body, ability] of [
      ["POST", "containers/ID/pause", undefined, "pause"],
      ["POST", "containers/ID/resume", undefined, "pause"],
      ["PATCH", "containers/ID", { resources: { pids: 9 } }, "update"],
      ["GET", "containers/ID/stats", undefined, "stats"],
      ["GET", "containers/ID/stats/stream", undefined, "stats"],
      ["GET", "containers/ID/processes", undefined, "stats"],
      ["POST", "tasks/ID/pause", undefined, "pause"],
      ["POST", "tasks/ID/resume", undefined, "pause"],
      ["PATCH", "tasks/ID", { resources: { pids: 9 } }, "update"],
      ["GET", "tasks/ID/stats", undefined, "stats"],
      ["GET", "tasks/ID/stats/stream", undefined, "stats"],
      ["GET", "tasks/ID/processes", undefined, "stats"],
      ["POST", "tasks/ID/processes", { command: ["true"] }, "exec"],
      ["POST", `tasks/ID/exec?settings=${settings}`, undefined, "exec"],
      ["POST", "tasks/ID/wait?process=x", undefined, "exec"],
      ["POST", "tasks/ID/resize", size, "resize"],
    ] as const
  ) {
    it(`is not asked for ${method} ${path.split("?")[0]}`, async () => {
      const answer = await world.ask(method, `/v1/${path.replace("ID", id)}`, body);
      const problem = await answer.json() as Record<string, unknown>;
      assert.deepEqual([answer.status, problem["code"], problem["ability"]], [501, "unimplemented", ability]);
    });
  }

  it("is listed, logged, stopped and removed like any other", async () => {
    const { items } = await world.admin<{ items: { runtime: string; status: string; stats?: unknown }[] }>(
      "GET",
      "/v1/tasks",
    );
    assert.deepEqual(items.map(({ runtime, status, stats }) => [runtime, status, stats]), [[
      "plain",
      "running",
      undefined,
    ]]);
    const logs = async () => await (await world.ask("GET", `/v1/containers/${id}/logs`)).text();
    await until(async () => await logs() === "out\n");
    const stopped = await world.admin<{ exitCode: number }>("POST", `/v1/containers/${id}/stop?graceMs=0`);
    assert.equal(stopped.exitCode, 137);
    assert.equal(await logs(), "out\n");
    await world.admin("DELETE", `/v1/containers/${id}`);
  });
});
