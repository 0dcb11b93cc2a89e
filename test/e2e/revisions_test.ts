import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

interface Listed {
  readonly id: string;
  readonly percent: number;
  readonly tags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

describe("revisions of a function", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-revisions-"));
  const seen = join(folder, "seen");
  let daemon: MayflyProcess;
  const { run, out } = commandsOn(folder);
  const start = async () => {
    const flags = [
      "--log-level",
      "warn",
      "--keep-revisions",
      "3",
      "--max-prepared",
      "8",
      "--call-retry-ms",
      "20",
      "--call-concurrency",
      "1",
    ];
    daemon = await MayflyProcess.start(folder, flags);
  };
  const answered = async (method: string, path: string, body?: unknown) => {
    const answer = await daemon.admin(method, `/v1/functions/${path}`, body);
    return { status: answer.status, problem: await answer.text() };
  };
  const ask = async (method: string, path: string, body?: unknown) => {
    const { status, problem } = await answered(method, path, body);
    assert.ok(status < 300, problem);
    return JSON.parse(problem);
  };
  /** Deploys what says a word behind its input. */
  const deploy = (name: string, word: string, more: object = {}, query = "") => {
    const command = ["sh", "-c", "cat; echo $WORD"];
    return ask("PUT", `${name}${query}`, { image: "box:1", command, env: { WORD: word }, ...more });
  };
  const listed = async (name: string): Promise<readonly Listed[]> => (await ask("GET", `${name}/revisions`)).items;
  const call = async (path: string, headers: Record<string, string> = {}, body = "") => {
    const answer = await fetch(`${daemon.url}/fn/${path}`, { method: "POST", body, headers });
    const text = await answer.text();
    return {
      text: text.trim(),
      status: answer.status,
      revision: answer.headers.get("x-mayfly-revision"),
      how: answer.headers.get("x-mayfly-start"),
    };
  };
  const tasks = async (wanted: string): Promise<number> => {
    const { items } = await (await daemon.admin("GET", "/v1/tasks")).json() as { items: { status: string }[] };
    return items.filter(({ status }) => status === wanted).length;
  };
  const waiting = () => tasks("created");
  /** Sends a request but its body. @returns what sends that, and gives all of the answer. */
  const slowRequest = async (name: string): Promise<(body: string) => Promise<string>> => {
    const { hostname, port } = new URL(daemon.url);
    const socket = connect({ host: hostname, port: Number(port) });
    await once(socket, "connect");
    let all = "";
    socket.on("data", (chunk) => all += String(chunk));
    const ended = once(socket, "close");
    socket.write(`POST /fn/${name} HTTP/1.1\r\nhost: ${hostname}\r\ncontent-length: 5\r\nconnection: close\r\n\r\n`);
    return async (body) => {
      socket.write(body);
      await ended;
      return all;
    };
  };

  before(async () => {
    mkdirSync(seen, { mode: 0o777 });
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are made by each deployment, and the newest answers and says so", async () => {
    await deploy("app", "one");
    assert.deepEqual(await call("app"), { text: "one", status: 200, revision: "app-00001", how: "cold" });
    await deploy("app", "two");
    const { text, revision } = await call("app");
    assert.deepEqual([text, revision], ["two", "app-00002"]);
    const [two, one] = await listed("app");
    assert.deepEqual([two?.id, two?.percent, two?.env["WORD"]], ["app-00002", 100, "two"]);
    assert.deepEqual([one?.id, one?.percent, one?.env["WORD"]], ["app-00001", 0, "one"]);
    assert.match(await out("revisions", "app"), /^app-00002 +100% +.*box:1 +sha256:[^]*^app-00001 +box:1 /m);
    await deploy("fails", "x", { command: ["sh", "-c", "exit 3"] });
    const failed = await call("fails");
    assert.deepEqual([failed.status, failed.revision], [500, "fails-00001"]);
  });

  it("share the traffic by weight", async () => {
    const split = await out("traffic", "app", "--to", "1=75", "--to", "latest=25");
    assert.match(split, /^app-00001 +75%\nlatest +25%$/m);
    const texts: string[] = [];
    for (let i = 0; i < 100; i++) texts.push((await call("app")).text);
    assert.deepEqual(["one", "two"].map((word) => texts.filter((text) => text === word).length), [75, 25]);
    // The newest is another one now, and has the same share.
    await deploy("app", "three");
    assert.deepEqual((await listed("app")).map(({ id, percent }) => [id, percent]), [
      ["app-00003", 25],
      ["app-00002", 0],
      ["app-00001", 75],
    ]);
  });

  it("are rolled back by one word, and forward", async () => {
    await out("traffic", "app", "--to", "latest=100");
    assert.equal((await call("app")).text, "three");
    const back = await run("rollback", "app");
    assert.deepEqual([back.code, back.stdout], [0, "app-00002\n"]);
    assert.match(back.stderr, /--to latest=100/);
    assert.equal((await call("app")).text, "two");
    assert.equal(await out("rollback", "app"), "app-00001\n");
    assert.equal((await call("app")).text, "one");
    // Who has rolled back decides when to go on.
    await deploy("app", "four");
    assert.equal((await call("app")).text, "one");
    assert.equal(await out("rollback", "app", "--to", "latest"), "latest\n");
    assert.equal((await call("app")).text, "four");
    await deploy("app", "five");
    assert.equal((await call("app")).text, "five");
  });

  it("are rolled back to one that has answered", async () => {
    for (const [word, query] of [["1", ""], ["2", "?traffic=false"], ["3", ""]] as const) {
      await deploy("released", word, {}, query);
    }
    await ask("PATCH", "released/traffic", { split: [{ revision: "latest", percent: 100 }] });
    assert.equal((await call("released")).text, "3");
    assert.equal(await out("rollback", "released"), "released-00001\n");
    assert.equal((await call("released")).text, "1");
  });

  it("have schedules of their own, which hold while they have the most traffic", async () => {
    const schedules = (body: string) => ({ schedules: [{ cron: "* * * * * *", body }] });
    const answers = async (): Promise<readonly string[]> => {
      const { items } = await (await daemon.admin("GET", "/v1/calls?function=clock&status=succeeded")).json() as {
        items: { id: string }[];
      };
      return await Promise.all(
        items.map(async ({ id }) => (await (await fetch(`${daemon.url}/async/calls/${id}/answer`)).text()).trim()),
      );
    };
    await deploy("clock", "one", schedules("by one "));
    await deploy("clock", "two", schedules("by two "), "?traffic=false");
    await until(async () => (await answers()).includes("by one one"));
    await ask("PATCH", "clock/traffic", { split: [{ revision: "latest", percent: 100 }] });
    const all = await until(async () => {
      const texts = await answers();
      return texts.includes("by two two") && texts;
    });
    assert.ok(!all.includes("by two one"), all.join(", "));
    await out("rm", "clock");
  });

  it("are reached by tag, and without one or traffic from the daemon's socket alone", async () => {
    const before = (await ask("GET", "app")).revision;
    await deploy("app", "green", {}, "?traffic=false&tag=next");
    const next = `app-0000${before + 1}`;
    assert.equal((await call("app")).text, "five");
    assert.deepEqual(await call("app@next"), { text: "green", status: 200, revision: next, how: "cold" });
    for (const revision of ["next", next, "latest", String(before + 1)]) {
      assert.equal((await call("app", { "x-mayfly-revision": revision })).text, "green", revision);
    }
    const [, , old] = await listed("app");
    for (const revision of [old?.id ?? "", "nothing", "app-00099"]) {
      assert.equal((await call("app", { "x-mayfly-revision": revision })).status, 404, revision);
    }
    assert.equal((await out("invoke", "app", "--revision", old?.id ?? "", "--data", "")).trim(), old?.env["WORD"]);
    assert.equal((await out("invoke", "app@next", "--data", "")).trim(), "green");
    assert.match(await out("traffic", "app", "--untag", "next"), /^app-00005 +100%$/m);
    assert.equal((await call("app@next")).status, 404);
  });

  it("are kept while they have traffic or a tag, and as many besides as are to be", async () => {
    await deploy("many", "1");
    await deploy("many", "2");
    await ask("PATCH", "many/traffic", { split: [{ revision: "1", percent: 100 }], tags: { two: "2" } });
    for (let i = 3; i <= 7; i++) await deploy("many", String(i));
    const kept = async () => (await listed("many")).map(({ id }) => Number(id.slice(-1)));
    assert.deepEqual(await kept(), [7, 6, 5, 2, 1]);
    await daemon.end("SIGKILL");
    await start();
    assert.deepEqual([(await call("many")).text, (await call("many@two")).text], ["1", "2"]);
    await ask("PUT", "many/traffic", { split: [{ revision: "many-00006", percent: 100 }] });
    assert.deepEqual(await kept(), [7, 6, 5]);
    assert.equal((await call("many")).text, "6");
  });

  /** A server that says its word behind the body; each connection is one request. */
  const server = `printf '%s' '#!/bin/sh
length=0; while read -r line; do line=$(printf %s "$line" | tr -d "\\r"); [ -z "$line" ] && break
case "$line" in content-length:*) length=\${line#*: };; esac; done
text="$(head -c "$length")$WORD"
printf "HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\nconnection: close\\r\\n\\r\\n%s" "\${#text}" "$text"
' > /tmp/app; chmod 755 /tmp/app; exec nc -ll -p $PORT -e /tmp/app`;

  for (
    const [name, settings] of [
      ["busy", { prepared: 2 }],
      ["served", { protocol: "http", minInstances: 1, maxInstances: 2, concurrency: 4, command: ["sh", "-c", server] }],
    ] as const
  ) {
    it(`lose no request while they take turns: ${name}`, async () => {
      await deploy(name, "w1", settings);
      const running = await slowRequest(name);
      await until(async () => {
        const path = `/v1/invocations?function=${name}`;
        const { items } = await (await daemon.admin("GET", path)).json() as { items: { status: string }[] };
        return items.some(({ status }) => status === "running");
      });
      const seen = new Map<string, number>();
      let done = false;
      const client = async (id: number) => {
        for (let i = 0; !done; i++) {
          const { text, status, revision } = await call(name, {}, `${id}-${i} `);
          assert.equal(status, 200, text);
          const [, word = ""] = /^(?:\d+-\d+) w(\d+)$/.exec(text) ?? [];
          assert.equal(revision, `${name}-0000${word}`, text);
          seen.set(word, (seen.get(word) ?? 0) + 1);
        }
      };
      const clients = Promise.all([0, 1, 2, 3].map(client));
      const moves = async () => {
        const meets = (word: string) => {
          const before = seen.get(word) ?? 0;
          return until(() => (seen.get(word) ?? 0) > before);
        };
        for (let i = 2; i <= 5; i++) {
          await deploy(name, `w${i}`, settings);
          await meets(String(i));
          await ask("POST", `${name}/rollback`, {});
          await meets(String(i - 1));
          const split = [{ revision: "latest", percent: 50 }, { revision: String(i - 1), percent: 50 }];
          await ask("PATCH", `${name}/traffic`, { split });
          await Promise.all([meets(String(i)), meets(String(i - 1))]);
          await ask("POST", `${name}/rollback`, { to: "latest" });
        }
      };
      try {
        await Promise.race([moves(), clients]);
      } finally {
        done = true;
        await clients;
      }
      const answer = await running("long ");
      assert.match(answer, new RegExp(`^HTTP/1.1 200 [^]*\r\nx-mayfly-revision: ${name}-00001\r\n[^]*\r\n\r\n`, "i"));
      assert.match(answer.replace(/\r\n[0-9a-f]+\r\n/g, ""), /long w1/);
      // Those of the revision that answers alone.
      await until(async () => await tasks("created") === 2 && await tasks("running") === (name === "busy" ? 0 : 1));
    });
  }

  it("get no traffic while their containers do not become ready", async () => {
    const broken = { protocol: "http", minInstances: 1, command: ["sh", "-c", "echo no luck >&2; exit 4"] };
    await deploy("served", "broken", broken, "?traffic=false&tag=next");
    const before = await ask("GET", "served/traffic");
    const { status, problem } = await answered("POST", "served/rollback", { to: "latest" });
    assert.equal(status, 409, problem);
    assert.match(problem, /cannot move traffic to revision served-00006: .*no luck/);
    assert.deepEqual(await ask("GET", "served/traffic"), before);
    assert.equal((await call("served", {}, "still ")).text, "still w5");
    // Nor when it has been seen a moment ago that they do not.
    assert.equal((await call("served@next")).status, 502);
    const again = await answered("PATCH", "served/traffic", { split: [{ revision: "6", percent: 100 }] });
    assert.match(again.problem, /cannot move traffic to revision served-00006: .*no luck/);
    assert.deepEqual(await ask("GET", "served/traffic"), before);
    await out("rm", "served");
  });

  it("get no more traffic while their containers do not come back", async () => {
    const machine = join(folder, "machine");
    mkdirSync(machine);
    writeFileSync(join(machine, "ok"), "");
    const served = {
      protocol: "http",
      minInstances: 1,
      mounts: [{ type: "bind", source: machine, target: "/machine" }],
      command: [
        "sh",
        "-c",
        "test -e /machine/ok || { echo no more luck >&2; exit 4; }; exec httpd -f -p $PORT -h /bin",
      ],
    };
    await deploy("worn", "old", served);
    await deploy("worn", "new", served);
    const split = (old: number) => ({
      split: [{ revision: "1", percent: old }, { revision: "2", percent: 100 - old }],
    });
    await ask("PATCH", "worn/traffic", split(50));
    rmSync(join(machine, "ok"));
    const { items } = await (await daemon.admin("GET", "/v1/tasks")).json() as {
      items: { id: string; function: string }[];
    };
    for (const { id, function: name } of items) {
      if (name === "worn") await daemon.admin("POST", `/v1/tasks/${id}/kill?signal=KILL`);
    }
    await until(async () => (await call("worn")).status === 502);
    const { status, problem } = await answered("PATCH", "worn/traffic", split(60));
    assert.equal(status, 409, problem);
    assert.match(problem, /cannot move traffic to revision worn-00001: .*no more luck/);
    assert.deepEqual((await ask("GET", "worn/traffic")).split[0].percent, 50);
    writeFileSync(join(machine, "ok"), "");
    await ask("PATCH", "worn/traffic", split(60));
    await out("rm", "worn");
  });

  it("get no traffic while what is to wait for it cannot be made", async () => {
    const machine = join(folder, "gone");
    const mounts = [{ type: "bind", source: machine, target: "/machine" }];
    // One with a tag is made already, and its waiting containers alone are not.
    for (const query of ["", "?tag=old"]) {
      mkdirSync(machine);
      await deploy("pooled", "one", { prepared: 1, mounts }, query);
      await deploy("pooled", "two", { prepared: 1 });
      rmSync(machine, { recursive: true });
      const before = await ask("GET", "pooled/traffic");
      const { status, problem } = await answered("POST", "pooled/rollback", {});
      assert.equal(status, 409, problem);
      assert.match(problem, /cannot move traffic to revision pooled-00001: .*gone/);
      assert.deepEqual(await ask("GET", "pooled/traffic"), before);
      assert.equal((await call("pooled", {}, "still ")).text, "still two");
      mkdirSync(machine);
      await ask("POST", "pooled/rollback", {});
      assert.equal((await call("pooled", {}, "back at ")).text, "back at one");
      await out("rm", "pooled");
      rmSync(machine, { recursive: true });
    }
  });

  it("have their waiting containers before they have traffic", async () => {
    assert.equal((await call("busy")).how, "prepared");
    await until(async () => await waiting() === 2);
    await deploy("busy", "cold", { prepared: 4 }, "?traffic=false");
    assert.equal(await waiting(), 2);
    await ask("PATCH", "busy/traffic", { split: [{ revision: "latest", percent: 100 }] });
    assert.equal((await call("busy")).how, "prepared");
    await until(async () => await waiting() === 4);
    await ask("POST", "busy/rollback", {});
    assert.equal((await call("busy")).how, "prepared");
    await until(async () => await waiting() === 2);
    await daemon.end("SIGKILL");
    await start();
    await until(async () => await waiting() === 2);
    const { how, text } = await call("busy");
    assert.deepEqual([how, text], ["prepared", "w5"]);
    const { problem } = await answered("PUT", "more?traffic=true", { image: "box:1", prepared: 7 });
    assert.match(problem, /maxPrepared is 8/);
    await out("rm", "busy");
    await until(async () => await waiting() === 0);
  });

  it("are chosen for asynchronous calls when these run", async () => {
    const command = ["sh", "-c", "touch /seen/begun; until [ -e /seen/go ]; do sleep 0.05; done; exit 3"];
    const mounts = [{ type: "bind", source: seen, target: "/seen" }];
    await deploy("later", "bad", { command, mounts });
    const accept = async (headers: Record<string, string>) => {
      const answer = await fetch(`${daemon.url}/async/fn/later`, { method: "POST", headers });
      assert.equal(answer.status, 202, await answer.clone().text());
      return await answer.json() as { readonly id: string; readonly answer: string };
    };
    const first = await accept({});
    const second = await accept({});
    await until(() => existsSync(join(seen, "begun")));
    await deploy("later", "good");
    writeFileSync(join(seen, "go"), "");
    const text = (path: string) =>
      until(async () => {
        const given = await fetch(`${daemon.url}${path}`);
        return given.status === 200 && await given.text();
      });
    // The first one has failed by the revision before.
    for (const { answer } of [first, second]) assert.equal(await text(answer), "good\n");
    await deploy("later", "tagged", {}, "?traffic=false&tag=blue");
    const [plain, tagged] = [await accept({}), await accept({ "x-mayfly-revision": "blue" })];
    assert.deepEqual([await text(plain.answer), await text(tagged.answer)], ["good\n", "tagged\n"]);
    const refused = await fetch(`${daemon.url}/async/fn/later@red`, { method: "POST" });
    assert.equal(refused.status, 404);
  });

  it("are refused where they would make no sense, and all stays as it is", async () => {
    const before = await ask("GET", "app/traffic");
    const all = (revision: string) => ({ split: [{ revision, percent: 100 }] });
    for (
      const [status, method, path, body, pattern] of [
        [400, "PUT", "app/traffic", { split: [{ revision: "latest", percent: 99 }] }, /percents whose sum is 100/],
        [400, "PUT", "app/traffic", { split: [] }, /split/],
        [400, "PUT", "app/traffic", { split: [{ revision: "1", percent: 100.5 }] }, /percent/],
        [400, "PUT", "app/traffic", all("other-00001"), /no revision of it/],
        [400, "PATCH", "app/traffic", { tags: { latest: "1" } }, /latest/],
        [400, "PATCH", "app/traffic", { weights: {} }, /unknown field/],
        [404, "PUT", "app/traffic", all("app-00001"), /no revision \\"app-00001\\".*is kept/],
        [404, "PATCH", "app/traffic", { tags: { old: "app-00001" } }, /is kept/],
        [404, "POST", "app/rollback", { to: "77" }, /is kept/],
        [404, "GET", "nothing/revisions", undefined, /no function/],
        [404, "POST", "nothing/rollback", {}, /no function/],
        [409, "POST", "later-on/rollback", {}, /no revision before later-on-00001 that has answered/],
        [409, "PUT", "first?traffic=false", { image: "box:1" }, /no revision that has it yet/],
        [400, "PUT", "first?tag=latest", { image: "box:1" }, /tag/],
        [400, "PUT", "first?tag=a-00001", { image: "box:1" }, /no revision's/],
      ] as const
    ) {
      if (path.startsWith("later-on")) await deploy("later-on", "x");
      const refused = await answered(method, path, body);
      assert.equal(refused.status, status, `${method} ${path} ${JSON.stringify(body)}: ${refused.problem}`);
      assert.match(refused.problem, pattern);
    }
    assert.deepEqual(await ask("GET", "app/traffic"), before);
    assert.equal((await answered("GET", "first")).status, 404);
    assert.match((await run("traffic", "app", "--to", "latest")).stderr, /--to is "latest", wanted a revision/);
  });
});
