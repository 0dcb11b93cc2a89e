import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const server = fileURLToPath(new URL("../support/echo_web_socket.mjs", import.meta.url));

describe("WebSockets of functions that serve HTTP", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-ws-"));
  let daemon: MayflyProcess;
  const { out } = commandsOn(folder);
  /** A connection, and what comes over it. */
  const open = async (path: string, protocols: string[] = []) => {
    const socket = new WebSocket(`${daemon.url.replace("http", "ws")}/fn/${path}`, protocols);
    socket.binaryType = "arraybuffer";
    const got: (string | number)[] = [];
    socket.addEventListener("message", ({ data }) => got.push(typeof data === "string" ? data : data.byteLength));
    const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener("close", resolve));
    await Promise.race([new Promise((resolve) => socket.addEventListener("open", resolve)), closed]);
    return { socket, got, closed };
  };
  const statuses = async () => {
    const { items } = await (await daemon.admin("GET", "/v1/functions/chat/logs")).json() as {
      items: { status: string; error?: string }[];
    };
    return items.map(({ status }) => status);
  };

  before(async () => {
    daemon = await MayflyProcess.start(folder, ["--log-level", "error"]);
    await out("import", makeBusyboxImage(folder, "box:1"));
    // The runtime that this is tested on serves, with the machine's libraries.
    mkdirSync(join(folder, "app"));
    copyFileSync(server, join(folder, "app/server.mjs"));
    const program = `/host/${process.execPath.slice(dirname(process.execPath).length + 1)}`;
    const words = "deno" in process.versions ? ["run", "-A", "--no-config", "--no-lock"] : [];
    const script = ["exec", program, ...words, "/app/server.mjs"].join(" ");
    const folders = [[dirname(process.execPath), "/host"], [join(folder, "app"), "/app"], ["/usr", "/usr"], [
      "/lib",
      "/lib",
    ], [
      "/lib64",
      "/lib64",
    ]];
    const mounts = folders.flatMap(([from, to]) => ["-v", `${from}:${to}:ro`]);
    const flags = [
      "--protocol",
      "http",
      "--timeout",
      "1m",
      "--stop-grace",
      "100ms",
      "-m",
      "1g",
      "-e",
      "HOME=/tmp",
      "-e",
      "DENO_DIR=/tmp/deno",
    ];
    await out("deploy", "chat", "--image", "box:1", ...flags, ...mounts, "--", "sh", "-c", script);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("carry text and bytes both ways, as they are", async () => {
    const { socket, got, closed } = await open("chat/room?id=1", ["one", "two"]);
    assert.equal(socket.protocol, "two");
    // It was asked whether it is there, and has said so.
    await until(() => got.includes("pong"));
    socket.send("grüße ✓");
    socket.send(new Uint8Array(60_000));
    socket.send("");
    socket.send("parts");
    await until(() => got.length === 5);
    assert.deepEqual(got.slice(1), ["grüße ✓", 60_000, "", "hello"]);
    socket.close(4002, "bye");
    assert.equal((await closed).code, 4002);
    await until(async () => (await statuses())[0] === "succeeded");
  });

  it("end as the server says, and are told of one that breaks off or lies", async () => {
    const leave = await open("chat");
    leave.socket.send("leave");
    const { code, reason } = await leave.closed;
    assert.deepEqual([code, reason], [4001, "ok"]);
    const broken = await open("chat");
    broken.socket.send("break");
    assert.equal((await broken.closed).code, 1011);
    const lie = await open("chat");
    lie.socket.send("lie");
    assert.ok([1011, 1002].includes((await lie.closed).code));
    const rude = await open("chat");
    rude.socket.send("rude");
    assert.ok([1011, 1002].includes((await rude.closed).code));
    await until(async () => (await statuses()).every((status) => status !== "running"));
  });

  it("are refused by the server's own answer", async () => {
    const { closed, got } = await open("chat/../refuse");
    assert.equal((await closed).wasClean, false);
    assert.deepEqual(got, []);
    // The same server, asked for no WebSocket.
    assert.equal((await fetch(`${daemon.url}/fn/chat`)).status, 403);
  });
});
