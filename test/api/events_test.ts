import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { eventStream } from "../../src/api/events.ts";
import { EventBus } from "../../src/monitoring/events.ts";
import { World } from "../support/world.ts";

interface Block {
  readonly id?: string;
  readonly event?: string;
  readonly data?: { readonly id: string; readonly topic: string; readonly data: Record<string, unknown> };
}

/** Reads an answer of server-sent events block by block; comments are left out. */
async function* blocks(answer: Response): AsyncGenerator<Block> {
  assert.equal(answer.headers.get("content-type"), "text/event-stream");
  let rest = "";
  for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream() as never) as AsyncIterable<string>) {
    const whole = (rest + chunk).split("\n\n");
    rest = whole.pop() ?? "";
    for (const text of whole) {
      const fields = text.split("\n").filter((line) => !line.startsWith(":")).map((line) => {
        const [name = "", ...value] = line.split(": ");
        return [name, name === "data" ? JSON.parse(value.join(": ")) : value.join(": ")] as const;
      });
      yield Object.fromEntries(fields);
    }
  }
}

async function take(source: AsyncGenerator<Block>, count: number): Promise<Block[]> {
  const taken: Block[] = [];
  while (taken.length < count) {
    const { done, value } = await source.next();
    if (done) break;
    if (value.data !== undefined) taken.push(value);
  }
  return taken;
}

describe("/v1/events", () => {
  let world: World;
  before(async () => {
    world = await World.open();
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const run = async (settings: Record<string, unknown> = {}) => {
    const { id } = await world.admin<{ id: string }>("POST", "/v1/containers", {
      image: "box:1",
      command: ["/bin/true"],
      ...settings,
    });
    await world.admin("POST", `/v1/containers/${id}/start`);
    await world.admin("POST", `/v1/containers/${id}/wait`);
    await world.admin("DELETE", `/v1/containers/${id}`);
    return id;
  };

  it("tells a container's whole life in order, and again to who comes back", async () => {
    const events = blocks(await world.ask("GET", "/v1/events?topic=/containers/&topic=/tasks/"));
    const begin = (await events.next()).value.id as string;
    const id = await run({ labels: { app: "x" }, name: "told" });
    const life = [
      "/containers/create",
      "/tasks/create",
      "/tasks/start",
      "/tasks/exit",
      "/tasks/delete",
      "/containers/delete",
    ];
    const seen = await take(events, life.length);
    assert.deepEqual(seen.map(({ data }) => data?.topic), life);
    for (const { data } of seen) {
      assert.equal(data?.data["containerId"], id);
      assert.deepEqual(data?.data["labels"], { app: "x" });
    }
    assert.equal(seen[3]?.data?.data["exitStatus"], 0);
    assert.equal(typeof seen[2]?.data?.data["pid"], "number");
    await events.return(undefined);

    const after = seen[1]!.id!;
    for (
      const again of [
        await world.ask("GET", "/v1/events", undefined, { "last-event-id": after }),
        await world.ask("GET", `/v1/events?since=${after}`),
      ]
    ) {
      const source = blocks(again);
      assert.deepEqual((await take(source, 4)).map(({ data }) => data?.topic), life.slice(2));
      await source.return(undefined);
    }
    for (
      const [query, count] of [
        ["topic=/tasks/exit&topic=/tasks/delete", 2],
        ["topic=/containers/", 2],
        [`container=${id}&topic=/tasks/`, 4],
        ["label=app%3Dx", 6],
      ] as const
    ) {
      const source = blocks(await world.ask("GET", `/v1/events?since=${begin}&${query}`));
      const topics = await take(source, count);
      assert.equal(topics.length, count, query);
      await source.return(undefined);
    }
    assert.equal((await world.ask("GET", "/v1/events?since=x")).status, 400);
    assert.equal((await world.ask("GET", "/v1/events", undefined, { "last-event-id": "x" })).status, 400);
  });

  it("tells of pauses, processes and memory that ran out, each once and in order", async () => {
    const begin = await world.ask("GET", "/v1/events?topic=/tasks/");
    const events = blocks(begin);
    await events.next();
    const { id } = await world.admin<{ id: string }>("POST", "/v1/containers", {
      image: "box:1",
      command: ["/bin/sh", "-c", "exec sleep 60"],
    });
    await world.admin("POST", `/v1/containers/${id}/start`);
    await world.admin("POST", `/v1/containers/${id}/pause`);
    await world.admin("POST", `/v1/containers/${id}/resume`);
    const settings = encodeURIComponent(JSON.stringify({ id: "go", command: ["/bin/sh", "-c", "exit 3"] }));
    await (await world.ask("POST", `/v1/tasks/${id}/exec?settings=${settings}`)).arrayBuffer();
    await world.admin("POST", `/v1/containers/${id}/kill`);
    await world.admin("POST", `/v1/containers/${id}/wait`);
    const seen: string[] = [];
    while (!seen.at(-1)?.startsWith("delete")) {
      const [{ data } = {}] = await take(events, 1);
      const { execId, exitStatus } = data?.data ?? {};
      seen.push(
        [data?.topic.slice("/tasks/".length), execId, exitStatus].filter((part) => part !== undefined).join(" "),
      );
    }
    assert.deepEqual(seen, [
      "create",
      "start",
      "paused",
      "resumed",
      "exec-added go",
      "exec-started go",
      "exit go 3",
      "exit 137",
      "delete 137",
    ]);
    await world.admin("DELETE", `/v1/containers/${id}`);

    const hungry = await run({ command: ["/bin/sh", "-c", "exec tail /dev/zero"], memoryBytes: 16 * 1024 * 1024 });
    const rest = (await take(events, 5)).map(({ data }) => [data?.data["containerId"], data?.topic]);
    assert.deepEqual(rest, ["create", "start", "oom", "exit", "delete"].map((topic) => [hungry, `/tasks/${topic}`]));
    await events.return(undefined);
  });

  it("tells of what other namespaces and filters do nothing", async () => {
    const source = blocks(await world.ask("GET", "/v1/events?namespace=other"));
    await run();
    await world.admin("POST", "/v1/images/import?namespace=other", { path: `${world.folder}/layout`, name: "box:1" });
    const [first] = await take(source, 1);
    assert.match(first?.data?.topic ?? "", /^\/images\//);
    await source.return(undefined);
  });
});

describe("eventStream()", () => {
  const never = new AbortController().signal;
  const bus = (kept: number, opening = 1) => new EventBus(() => assert.fail(), { kept, opening });

  it("tells of a gap where what follows an id is kept no more", async () => {
    const events = bus(4);
    for (let i = 1; i <= 10; i++) events.publish("/x", "default", { i });
    const source = blocks(eventStream(events, {}, { after: { opening: 1, number: 3 }, closing: never }));
    const [gap, ...rest] = await take(source, 5);
    assert.deepEqual([gap?.event, gap?.data], ["gap", { after: "1-3", oldest: "1-7" }]);
    assert.deepEqual(rest.map(({ id }) => id), ["1-7", "1-8", "1-9", "1-10"]);
    await source.return(undefined);
  });

  it("tells of a gap to who comes from before a restart, and of none to who missed nothing", async () => {
    const events = bus(4, 2);
    events.publish("/x", "default", {});
    for (
      const [after, gap] of [[{ opening: 1, number: 5 }, true], [{ opening: 2, number: 0 }, false], [
        { opening: 2, number: 9 },
        true,
      ]] as const
    ) {
      const source = blocks(eventStream(events, {}, { after, closing: never }));
      const [first] = await take(source, 1);
      assert.equal(first?.event === "gap", gap);
      await source.return(undefined);
    }
  });

  it("cuts a client that reads too slowly, and ends when the daemon closes", async () => {
    const events = bus(64);
    const slow = eventStream(events, {}, { after: undefined, closing: never }).body!.getReader();
    await slow.read();
    for (let i = 0; i < 200; i++) events.publish("/x", "default", { text: "x".repeat(4096) });
    await assert.rejects(async () => {
      while (!(await slow.read()).done);
    }, /too slowly/);

    const closing = new AbortController();
    const open = blocks(eventStream(events, {}, { after: undefined, closing: closing.signal }));
    await open.next();
    const end = open.next();
    closing.abort();
    assert.equal((await end).done, true);
  });
});
