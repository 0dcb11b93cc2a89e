import assert from "node:assert/strict";
import { globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { type Finished, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";

const value = "correct horse battery staple";

describe("secrets", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-secrets-"));
  let daemon: MayflyProcess;
  let logs = "";
  const run = (words: readonly string[], input = ""): Promise<Finished> => {
    const [command = "", ...args] = words;
    return mayfly([command, ...stateFlags(folder), ...args], { input });
  };
  const out = async (words: readonly string[], input = ""): Promise<string> => {
    const { code, stdout, stderr } = await run(words, input);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out(["deploy", name, "--image", "box:1", "--secret", "password", ...flags, "--", "sh", "-c", script]);
  const start = async (env: Readonly<Record<string, string>> = {}) =>
    daemon = await MayflyProcess.start(folder, ["--log-level", "debug"], env);
  const end = async (signal: NodeJS.Signals) => {
    const code = await daemon.end(signal);
    logs += daemon.log();
    return code;
  };
  const invoke = async (name: string) => {
    const answer = await fetch(`${daemon.url}/fn/${name}`, { method: "POST" });
    return { status: answer.status, text: await answer.text(), how: answer.headers.get("x-mayfly-start") };
  };
  const isMounted = () => readFileSync("/proc/self/mountinfo", "utf8").includes(` ${folder}/run/secrets `);
  /** Both places, read as the container's user; how they are to be seen; what is said of them elsewhere. */
  const look = "cat /run/secrets/password /var/openfaas/secrets/password; id -u; " +
    "stat -c '%a %u:%g' /run/secrets/password /run/secrets; cat /proc/mounts; env; " +
    "(echo x > /run/secrets/password) 2>/dev/null || echo unwritable";
  const seen = (user: number, group = user) =>
    new RegExp(
      `^${value}${value}${user}\n400 ${user}:${group}\n500 ${user}:${group}\n[^]*^tmpfs /run/secrets tmpfs ro,nosuid,nodev,noexec`,
      "m",
    );
  const looksRight = (text: string, user: number) => {
    assert.match(text, seen(user));
    assert.match(text, /\nunwritable\n$/);
    assert.equal(text.split(value).length, 3, "it is not in the environment");
  };

  before(async () => {
    await start();
    await out(["import", makeBusyboxImage(folder, "box:1")]);
  });
  after(async () => {
    assert.equal(await end("SIGTERM"), 0, daemon.log());
    assert.ok(!isMounted());
    rmSync(folder, { recursive: true, force: true });
  });

  it("are files of a function's containers, for their user alone", async () => {
    assert.equal(await out(["secret", "create", "password"], value), "password\n");
    await deploy("root", look);
    looksRight((await invoke("root")).text, 0);
    await deploy("worker", look, "--user", "worker");
    looksRight((await invoke("worker")).text, 1000);
    await deploy("readonly", look, "--user", "worker", "--read-only", "--prepared", "1");
    const { text, how } = await invoke("readonly");
    assert.equal(how, "prepared");
    looksRight(text, 1000);
  });

  it("are such files for users of a namespace's own, too, and on other runtimes", async () => {
    await deploy("own", look, "--user", "worker", "--userns", "auto");
    looksRight((await invoke("own")).text, 1000);
    for (const runtime of ["crun", "runc"]) {
      await deploy(runtime, look, "--user", "worker", "--function-runtime", runtime);
      looksRight((await invoke(runtime)).text, 1000);
      await out(["rm", runtime]);
    }
  });

  it("do not come out otherwise", async () => {
    writeFileSync(join(folder, "file"), value);
    await out(["secret", "create", "-n", "other", "from-file", "--from-file", join(folder, "file")]);
    rmSync(join(folder, "file"));
    const answers = await Promise.all([
      out(["secret", "list"]),
      out(["secret", "list", "--json", "-n", "other"]),
      out(["functions", "--json"]),
      ...["/v1/secrets", "/v1/functions/root", "/v1/invocations", "/v1/tasks", "/metrics"].map(async (path) =>
        await (await daemon.admin("GET", path)).text()
      ),
    ]);
    assert.match(answers.join(), /password.*from-file/s);
    assert.ok(!answers.join().includes(value));
    assert.equal((await daemon.admin("GET", "/v1/secrets/password")).status, 405);
    for (const path of globSync(`${folder}/root/**`).filter((path) => statSync(path).isFile())) {
      assert.ok(!readFileSync(path).includes(value), path);
    }
    assert.equal(statSync(`${folder}/root/secret.key`).mode & 0o777, 0o600);
    assert.match(await out(["system", "df"]), /secret\.key/);
    assert.doesNotMatch(await out(["system", "df"]), /unknown/);
  });

  it("change in the containers that have them", async () => {
    await deploy("held", "cat; cat /run/secrets/password");
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const init = { method: "POST", body: readable, duplex: "half" } as RequestInit;
    const answer = fetch(`${daemon.url}/fn/held`, init);
    await writer.write(new TextEncoder().encode("then "));
    await out(["secret", "create", "password", "--replace"], "another");
    await writer.close();
    assert.equal(await (await answer).text(), "then another");
    await out(["secret", "create", "password", "--replace"], value);
    looksRight((await invoke("root")).text, 0);
    assert.match((await run(["secret", "create", "no", "--replace"], "x")).stderr, /there is none of this name/);
  });

  it("are refused where they are wrong, missing, or in use", async () => {
    const refused = async (words: readonly string[], why: RegExp, input = "") => {
      const { code, stderr } = await run(words, input);
      assert.notEqual(code, 0);
      assert.match(stderr, why);
      assert.ok(!stderr.includes(value));
    };
    await refused(["secret", "create", "password"], /there is one/, value);
    await refused(["secret", "create", "../password"], /wanted 1 to 63 letters/, value);
    await refused(["secret", "create", "empty"], /want 1 to 500000/, "");
    await refused(["secret", "create", "large"], /more than 500000/, "x".repeat(500_001));
    const image = ["deploy", "no", "--image", "box:1", "--secret"];
    await refused([...image, "nothing"], /make it first: mayfly secret create nothing --from-file/);
    await refused([...image, "from-file"], /no secret "from-file" in namespace "default"/);
    await refused([...image, "password", "--secret", "password"], /each secret once/);
    await refused([...image, "password", "--tmpfs", "/run//secrets"], /secrets are there, mount elsewhere/);
    assert.equal((await daemon.admin("GET", "/v1/functions/no")).status, 404);
    await refused(["secret", "remove", "password"], /function held, own, readonly, root, worker has it/);
    await refused(["secret", "remove", "nothing"], /there is none/);
    assert.equal((await daemon.admin("DELETE", "/v1/namespaces/other")).status, 409);
    await out(["secret", "remove", "-n", "other", "from-file"]);
    assert.equal((await daemon.admin("DELETE", "/v1/namespaces/other")).status, 204);
  });

  it("are there behind a crash, and for the key that has sealed them alone", async () => {
    assert.ok(isMounted());
    await end("SIGKILL");
    await start();
    looksRight((await invoke("readonly")).text, 1000);
    await end("SIGTERM");
    assert.ok(!isMounted());
    await start({ MAYFLY_SECRET_KEY: "ab".repeat(32) });
    assert.equal((await invoke("root")).status, 500);
    assert.match((await run(["deploy", "no", "--image", "box:1", "--secret", "password"])).stderr, /MAYFLY_SECRET_KEY/);
    await out(["secret", "create", "password", "--replace"], value);
    looksRight((await invoke("root")).text, 0);
  });

  it("are in no log", () => assert.ok(!(logs + daemon.log()).includes(value)));
});
