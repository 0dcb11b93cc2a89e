import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Channel, decodeMessage, encodeMessage } from "../../src/core/stdio_frames.ts";
import type { WebSocketConnection } from "../../src/core/web_socket.ts";
import { currentHost } from "../../src/host/mod.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

const host = await currentHost();
const token = "a-token-of-this-test";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

interface Last {
  readonly exit?: { readonly code: number; readonly oomKilled?: boolean };
  readonly error?: { readonly code: string; readonly detail: string };
}

/** A client of the API's WebSockets. */
class Client {
  readonly connection: WebSocketConnection;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  stdout = "";
  stderr = "";
  last: Last | undefined;

  constructor(connection: WebSocketConnection) {
    this.connection = connection;
    this.#writer = connection.writable.getWriter();
    this.#reader = connection.readable.getReader();
  }

  async send(channel: Channel, payload: unknown = ""): Promise<void> {
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    await this.#writer.write(encodeMessage(channel, encoder.encode(text)));
  }

  /** Breaks off. */
  cut(): Promise<void> {
    return this.#writer.abort();
  }

  /** Takes messages until the output has something, or to the end. */
  async until(pattern?: RegExp): Promise<this> {
    while (pattern === undefined || !pattern.test(this.stdout)) {
      const { done, value } = await this.#reader.read();
      if (done) {
        assert.equal(pattern, undefined, `it ended before ${pattern}: ${this.stdout} ${JSON.stringify(this.last)}`);
        return this;
      }
      const { channel, payload } = decodeMessage(value);
      if (channel === "stdout") this.stdout += decoder.decode(payload, { stream: true });
      else if (channel === "stderr") this.stderr += decoder.decode(payload);
      else this.last = JSON.parse(decoder.decode(payload));
    }
    return this;
  }
}

describe("processes over WebSockets", () => {
  let world: World;
  before(async () => {
    world = await World.open({}, { MAYFLY_ADMIN_TCP: "true", MAYFLY_ADMIN_TOKEN: token });
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const open = async (path: string): Promise<Client> => {
    const opened = await host.connectWebSocket({
      url: `ws://mayfly${path}`,
      path: join(world.folder, "run/mayfly.sock"),
    });
    if (opened instanceof Response) assert.fail(`${opened.status} ${await opened.text()}`);
    return new Client(opened);
  };
  const refused = async (path: string): Promise<number> => {
    const opened = await host.connectWebSocket({
      url: `ws://mayfly${path}`,
      path: join(world.folder, "run/mayfly.sock"),
    });
    assert.ok(opened instanceof Response, "it was not refused");
    await opened.body?.cancel();
    return opened.status;
  };
  const create = async (script: string, settings: Record<string, unknown> = {}): Promise<string> =>
    (await world.admin<{ id: string }>("POST", "/v1/containers", {
      image: "box:1",
      command: ["/bin/sh", "-c", script],
      ...settings,
    })).id;
  const start = async (script: string, settings: Record<string, unknown> = {}): Promise<string> => {
    const id = await create(script, settings);
    await world.admin("POST", `/v1/containers/${id}/start`);
    return id;
  };
  const remove = (id: string) => world.admin("DELETE", `/v1/containers/${id}?force=true`);
  const status = async (id: string) => (await world.admin<{ status: string }>("GET", `/v1/containers/${id}`)).status;

  describe("exec", () => {
    let id: string;
    before(async () => {
      id = await start("sleep 1000");
    });
    after(() => remove(id));

    const exec = async (process: Record<string, unknown>): Promise<Client> => {
      const client = await open(`/v1/containers/${id}/exec`);
      await client.send("process", process);
      return client;
    };
    const shell = (script: string, more: Record<string, unknown> = {}) =>
      exec({ command: ["/bin/sh", "-c", script], ...more });
    const processes = async () =>
      (await world.admin<{ items: unknown[] }>("GET", `/v1/containers/${id}/processes`)).items.length;

    it("tells streams apart, and how it ended in the last message", async () => {
      const client = await (await shell("echo out; echo err >&2; exit 7")).until();
      assert.deepEqual([client.stdout, client.stderr, client.last], ["out\n", "err\n", { exit: { code: 7 } }]);
      assert.equal((await client.connection.closed).code, 1000);
    });

    it("loses no tail when a process ends quickly", async () => {
      for (let i = 0; i < 30; i++) {
        const client = await (await shell("head -c 100000 /dev/zero | tr '\\0' x; echo -n end")).until();
        assert.deepEqual([client.stdout.length, client.stdout.slice(-3)], [100_003, "end"]);
      }
    });

    it("carries a line of any length both ways, and the end of input", async () => {
      const client = await exec({ command: ["cat"], stdin: true });
      const piece = "a line without an end ".repeat(20_000);
      const sending = (async () => {
        for (let i = 0; i < 20; i++) await client.send("stdin", piece);
        await client.send("stdinEnd");
      })();
      await client.until();
      await sending;
      assert.equal(client.stdout.length, piece.length * 20);
      assert.deepEqual(client.last, { exit: { code: 0 } });
    });

    it("gives a terminal, its size, and its changes", async () => {
      const client = await shell("stty size; read x; stty size; echo $TERM; exit 3", {
        tty: true,
        stdin: true,
        size: { width: 100, height: 30 },
      });
      await client.until(/30 100\r\n/);
      await client.send("resize", { width: 132, height: 43 });
      await client.send("stdin", "go\r");
      await client.until();
      assert.match(client.stdout, /43 132\r\nxterm\r\n/);
      assert.deepEqual(client.last, { exit: { code: 3 } });
    });

    it("interrupts with a key what runs in a terminal", async () => {
      const client = await shell("echo ready; sleep 1000", { tty: true, stdin: true });
      await client.until(/ready/);
      await client.send("stdin", "\x03");
      assert.deepEqual((await client.until()).last, { exit: { code: 130 } });
    });

    it("goes on by itself when the client says goodbye, and is killed when it breaks off", async () => {
      const none = await processes();
      const leaves = await shell("echo ready; read x", { stdin: true });
      await leaves.until(/ready/);
      leaves.connection.close();
      await leaves.connection.closed;
      assert.equal(await processes(), none + 1);
      const breaks = await shell("echo ready; exec sleep 1000");
      await breaks.until(/ready/);
      assert.equal(await processes(), none + 2);
      await breaks.cut();
      await until(async () => await processes() === none + 1);
    });

    it("says why a process cannot be run", async () => {
      const cases: readonly [unknown, string, RegExp][] = [
        [{ command: ["nowhere"] }, "not_found", /nowhere/],
        [{ command: [] }, "invalid_argument", /command/],
        [{ command: ["true"], workdir: "/none" }, "not_found", /none/],
        [{ command: ["true"], user: "nobody-knows" }, "invalid_argument", /nobody-knows/],
        ["no json", "invalid_argument", /JSON/],
      ];
      for (const [process, code, pattern] of cases) {
        const client = await open(`/v1/containers/${id}/exec`);
        await client.send("process", process);
        const { last } = await client.until();
        assert.equal(last?.error?.code, code, JSON.stringify(last));
        assert.match(last?.error?.detail ?? "", pattern);
      }
      assert.equal(await refused("/v1/containers/none/exec"), 404);
      const stopped = await create("true");
      assert.equal(await refused(`/v1/containers/${stopped}/exec`), 409);
      assert.equal(await refused(`/v1/containers/${stopped}/attach`), 409);
      await remove(stopped);
      assert.equal((await world.ask("GET", `/v1/containers/${id}/exec`)).status, 400);
    });

    it("a message that nobody knows is the end", async () => {
      for (
        const [channel, payload] of [["result", ""], ["resize", "x"], ["resize", { width: 0, height: 1 }]] as const
      ) {
        const client = await shell("sleep 1000", { tty: true });
        await client.send(channel, payload);
        assert.equal((await client.connection.closed).code, 1008);
      }
    });
  });

  describe("attach", () => {
    it("starts a container and misses nothing of it", async () => {
      for (let i = 0; i < 10; i++) {
        const id = await create("echo out; echo err >&2; exit 4");
        const client = await (await open(`/v1/containers/${id}/attach?start=true`)).until();
        assert.deepEqual([client.stdout, client.stderr], ["out\n", "err\n"]);
        assert.deepEqual(client.last?.exit, { code: 4, oomKilled: false });
        await remove(id);
      }
    });

    it("tells why a container cannot be started", async () => {
      const { id } = await world.admin<{ id: string }>("POST", "/v1/containers", {
        image: "box:1",
        command: ["/bin/sh"],
        workdir: "/nowhere/at/all",
      });
      const { last } = await (await open(`/v1/containers/${id}/attach?start=true`)).until();
      assert.ok(last?.exit !== undefined || last?.error !== undefined);
      await remove(id);
    });

    it("has a terminal, is left and taken up again", async () => {
      const id = await create("stty size; while read x; do echo got $x; stty size; done; exit 9", {
        tty: true,
        stdinOpen: true,
      });
      const size = encodeURIComponent(JSON.stringify({ width: 90, height: 20 }));
      const first = await open(`/v1/containers/${id}/attach?start=true&size=${size}`);
      await first.until(/20 90\r\n/);
      await first.send("stdin", "one\r");
      await first.until(/got one\r\n20 90/);
      first.connection.close();
      await first.connection.closed;
      assert.equal(await status(id), "running");
      const second = await open(`/v1/containers/${id}/attach`);
      await second.send("resize", { width: 70, height: 10 });
      await second.send("stdin", "two\r");
      await second.until(/got two\r\n10 70/);
      await second.send("stdin", "\x04");
      assert.equal((await second.until()).last?.exit?.code, 9);
      await remove(id);
    });

    it("serves many clients at once, and none that has gone", async () => {
      const id = await start("while read x; do echo got $x; done", { stdinOpen: true });
      const clients = await Promise.all([1, 2, 3, 4].map(() => open(`/v1/containers/${id}/attach`)));
      const [one, two, three, gone] = clients as [Client, Client, Client, Client];
      await gone.cut();
      await gone.connection.closed;
      await one.send("stdin", "a\n");
      await two.send("stdin", "b\n");
      for (const client of [one, two, three]) await client.until(/got a\ngot b\n|got b\ngot a\n/);
      await three.send("stdinEnd");
      for (const client of [one, two, three]) assert.equal((await client.until()).last?.exit?.code, 0);
      await remove(id);
    });

    it("lets a container end though a client does not read", async () => {
      const id = await start("read x; head -c 50000000 /dev/zero; echo end", { stdinOpen: true });
      const slow = await open(`/v1/containers/${id}/attach`);
      await slow.send("stdin", "go\n");
      await world.admin("POST", `/v1/containers/${id}/kill`);
      await until(async () => await status(id) === "exited");
      await slow.until();
      assert.equal(slow.last?.exit?.code, 137);
      await remove(id);
    });
  });

  describe("over TCP", () => {
    let id: string;
    before(async () => {
      id = await start("sleep 1000");
    });
    after(() => remove(id));

    it("wants the token, and refuses pages from elsewhere even with it", async () => {
      const authorization = `Bearer ${token}`;
      const own = new URL(world.url).host;
      const cases: readonly [number | undefined, Readonly<Record<string, string>>][] = [
        [401, {}],
        [401, { authorization: "Bearer wrong" }],
        [403, { authorization, origin: "https://evil.example" }],
        [403, { authorization, origin: "null" }],
        [403, { authorization, host: "evil.example" }],
        [403, { origin: "https://evil.example" }],
        [undefined, { authorization }],
        [undefined, { authorization, origin: `http://${own}` }],
      ];
      for (const [status, headers] of cases) {
        const opened = await host.connectWebSocket({ url: `${world.url}/v1/containers/${id}/exec`, headers });
        if (opened instanceof Response) {
          assert.equal(opened.status, status, JSON.stringify(headers));
          await opened.body?.cancel();
          continue;
        }
        assert.equal(status, undefined, JSON.stringify(headers));
        const client = new Client(opened);
        await client.send("process", { command: ["echo", "hello"] });
        assert.equal((await client.until()).stdout, "hello\n");
      }
    });
  });
});
