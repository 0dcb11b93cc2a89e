import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { decodeFrames } from "../../src/core/stdio_frames.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

for (const runtime of ["native", "crun"]) {
  describe(`/v1/tasks on ${runtime}`, () => {
    let world: World;
    let id = "";

    before(async () => {
      world = await World.open();
      ({ id } = await world.admin<{ id: string }>("POST", "/v1/containers", {
        image: "box:1",
        command: ["/bin/sh", "-c", "exec sleep 60"],
        env: { KEPT: "yes" },
        runtime,
      }));
      await world.admin("POST", `/v1/containers/${id}/start`);
    });
    after(async () => {
      await world[Symbol.asyncDispose]();
    });

    const refused = async (method: string, path: string, body?: unknown) => {
      const answer = await world.ask(method, path, body);
      return { status: answer.status, code: (await answer.json() as { code: string }).code };
    };
    const exec = async (settings: Record<string, unknown>, body?: string) => {
      const path = `/v1/tasks/${id}/exec?settings=${encodeURIComponent(JSON.stringify(settings))}`;
      const answer = await world.ask("POST", path, body);
      const seen = { stdout: "", stderr: "", result: "" };
      assert.equal(answer.status, 200, answer.status === 200 ? "" : await answer.text());
      for await (const { channel, payload } of decodeFrames(answer.body!)) {
        seen[channel] += new TextDecoder().decode(payload);
      }
      return { ...seen, result: JSON.parse(seen.result) };
    };

    it("shows what runs, and its figures and processes", async () => {
      const { items } = await world.admin<{ items: { id: string; status: string }[] }>("GET", "/v1/tasks");
      assert.deepEqual(items.map((item) => [item.id, item.status]), [[id, "running"]]);
      const one = await world.admin<{ pid: number; image: string }>("GET", `/v1/tasks/${id}`);
      assert.equal(one.image, "box:1");
      const processes = async () =>
        (await world.admin<{ items: { pid: number; command: string }[] }>("GET", `/v1/tasks/${id}/processes`)).items;
      // The shell executes it a moment behind the start.
      await until(async () => (await processes())[0]?.command === "sleep 60");
      assert.deepEqual((await processes()).map(({ pid }) => pid), [one.pid]);
      assert.equal((await world.admin<{ pids: number }>("GET", `/v1/tasks/${id}/stats`)).pids, 1);
      assert.deepEqual(await refused("GET", "/v1/tasks/nothing"), { status: 404, code: "not_found" });
    });

    it("pauses, resumes and updates", async () => {
      await world.admin("POST", `/v1/tasks/${id}/pause`);
      assert.equal((await world.admin<{ status: string }>("GET", `/v1/containers/${id}`)).status, "paused");
      assert.deepEqual(await refused("POST", `/v1/tasks/${id}/pause`), { status: 409, code: "failed_precondition" });
      await world.admin("POST", `/v1/containers/${id}/resume`);
      assert.equal((await world.admin<{ status: string }>("GET", `/v1/tasks/${id}`)).status, "running");
      await world.admin("PATCH", `/v1/tasks/${id}`, { resources: { pids: 10 } });
      const { settings } = await world.admin<{ settings: { pids: number; memoryBytes: number } }>(
        "PATCH",
        `/v1/containers/${id}`,
        { resources: { memoryBytes: 2 ** 26 }, labels: { a: "b" } },
      );
      assert.equal(settings.memoryBytes, 2 ** 26);
      assert.equal((await refused("PATCH", `/v1/tasks/${id}`, { resources: { memoryBytes: 1 } })).status, 400);
    });

    it("runs more processes", async () => {
      const out = await exec({
        command: ["/bin/sh", "-c", "cat; echo $KEPT $MORE; pwd; echo err >&2; exit 4"],
        env: { MORE: "too" },
        workdir: "/tmp",
      }, "in ");
      assert.deepEqual(out, { stdout: "in yes too\n/tmp\n", stderr: "err\n", result: { exit: { code: 4 } } });
      assert.equal((await exec({ command: ["/bin/sh", "-c", "id -u"], user: "1000" })).stdout, "1000\n");
      const path = `/v1/tasks/${id}/exec?settings=${encodeURIComponent('{"command":["/nothing"]}')}`;
      assert.equal((await refused("POST", path)).code, "not_found");
      assert.equal((await refused("POST", `/v1/tasks/${id}/exec?settings=%7B%7D`)).status, 400);
    });

    it("runs processes that go on by themselves, until they are deleted", async () => {
      const { pid } = await world.admin<{ pid: number }>("POST", `/v1/tasks/${id}/processes`, {
        id: "side",
        command: ["sleep", "61"],
      });
      const { items } = await world.admin<{ items: { pid: number; execId?: string }[] }>(
        "GET",
        `/v1/tasks/${id}/processes`,
      );
      assert.equal(items.find((item) => item.pid === pid)?.execId, "side");
      assert.equal((await refused("POST", `/v1/tasks/${id}/processes`, { id: "side", command: ["true"] })).status, 409);
      await world.admin("POST", `/v1/tasks/${id}/kill?process=side`);
      const { exitStatus } = await world.admin<{ exitStatus: number }>("POST", `/v1/tasks/${id}/wait?process=side`);
      assert.equal(exitStatus, 137);
      await world.admin("DELETE", `/v1/tasks/${id}?process=side`);
      assert.equal((await refused("POST", `/v1/tasks/${id}/wait?process=side`)).code, "not_found");
    });

    it("resizes terminals, and nothing else", async () => {
      const size = { width: 90, height: 30 };
      assert.equal((await refused("POST", `/v1/tasks/${id}/resize`, size)).code, "failed_precondition");
      await world.admin("POST", `/v1/tasks/${id}/processes`, { id: "tty", command: ["sleep", "62"], tty: true });
      await world.admin("POST", `/v1/tasks/${id}/resize?process=tty`, size);
      await world.admin("DELETE", `/v1/tasks/${id}?process=tty`);
      assert.equal((await refused("POST", `/v1/tasks/${id}/resize`, { width: 0, height: 1 })).status, 400);
    });

    it("kills, waits and deletes", async () => {
      const events = await world.ask("GET", `/v1/tasks/${id}/events`);
      const waiting = world.admin<{ exitStatus: number; signal: number }>("POST", `/v1/tasks/${id}/wait`);
      await world.admin("POST", `/v1/tasks/${id}/kill?signal=KILL`);
      const { exitStatus, signal } = await waiting;
      assert.deepEqual([exitStatus, signal], [137, 9]);
      const topics = [...(await events.text()).matchAll(/"topic":"([^"]+)"/g)].map(([, topic]) => topic);
      assert.deepEqual(topics, ["/tasks/exit", "/tasks/delete"]);
      await until(async () => (await world.ask("GET", `/v1/tasks/${id}`)).status === 404);
      await world.admin("POST", `/v1/containers/${id}/start`);
      const { exit } = await world.admin<{ exit: { code: number } }>("DELETE", `/v1/tasks/${id}`);
      assert.equal(exit.code, 137);
      await until(async () =>
        (await world.admin<{ status: string }>("GET", `/v1/containers/${id}`)).status === "exited"
      );
    });
  });
}
