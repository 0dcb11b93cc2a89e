import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { create } from "tar";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const token = "a-token-of-the-administrator";
const password = "an OpenFaaS secret";

interface Status {
  readonly name: string;
  readonly image: string;
  readonly namespace: string;
  readonly envProcess: string;
  readonly envVars: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
  readonly limits: { readonly memory: string; readonly cpu: string };
  readonly invocationCount: number;
  readonly replicas: number;
  readonly availableReplicas: number;
  readonly createdAt: string;
}

/** An image whose watchdog is a web server, so that it can be one of either kind. */
function makeImages(folder: string): string {
  const root = join(folder, "rootfs");
  mkdirSync(root);
  makeBusyboxRoot(root);
  writeFileSync(join(root, "bin/fwatchdog"), "#!/bin/sh\nexec busybox httpd -f -p $port -h /etc\n");
  chmodSync(join(root, "bin/fwatchdog"), 0o755);
  create({ file: join(folder, "layer.tar"), cwd: root, portable: true, sync: true }, ["."]);
  const layout = new LayoutFolder(join(folder, "layout"));
  const image = (...Env: readonly string[]) =>
    layout.image([readFileSync(join(folder, "layer.tar"))], {
      config: { Env: ["PATH=/bin", ...Env], Cmd: ["fwatchdog"] },
    });
  return layout.name({
    "classic:1": image("fprocess=tr a-z A-Z"),
    "of:1": image("mode=http", "port=8081", "fprocess=never"),
    "plain:1": layout.image([readFileSync(join(folder, "layer.tar"))], { config: { Env: ["PATH=/bin"], Cmd: ["sh"] } }),
  });
}

// The requests are those that faas-cli makes.
describe("OpenFaaS's gateway", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-openfaas-"));
  /** What the caller's server is told. */
  const told: { readonly headers: IncomingHttpHeaders; readonly body: string }[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    told.push({ headers: request.headers, body });
    response.end();
  });
  let host: string;
  let daemon: MayflyProcess;
  const basic = (user: string, secret: string) => `Basic ${btoa(`${user}:${secret}`)}`;
  const ask = (method: string, path: string, body?: unknown, authorization = basic("admin", token)) =>
    fetch(daemon.url + path, {
      method,
      headers: { authorization, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const answered = async (method: string, path: string, status: number, body?: unknown): Promise<string> => {
    const answer = await ask(method, path, body);
    const text = await answer.text();
    assert.equal(answer.status, status, `${method} ${path}: ${text}`);
    return text;
  };
  const get = async <T>(path: string): Promise<T> => JSON.parse(await answered("GET", path, 200));
  const deploy = (service: string, image: string, more: Readonly<Record<string, unknown>> = {}) =>
    answered("POST", "/system/functions", 202, { service, image, envProcess: "", labels: null, limits: null, ...more });
  const status = (name: string, query = "") => get<Status>(`/system/function/${name}${query}`);

  before(async () => {
    await once(server.listen(0, "127.0.0.1"), "listening");
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const flags = ["--log-level", "warn", "--admin-tcp", "--callback-hosts", host];
    daemon = await MayflyProcess.start(folder, flags, { MAYFLY_ADMIN_TOKEN: token });
    const { code, stderr } = await mayfly(["import", ...stateFlags(folder), makeImages(folder)], { input: "" });
    assert.equal(code, 0, stderr);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("lets the administrator log in, and nobody else", async () => {
    assert.equal((await fetch(`${daemon.url}/healthz`)).status, 200);
    assert.deepEqual(await get("/system/functions"), []);
    for (const wrong of [basic("admin", "another"), basic("other", token), "Basic !", ""]) {
      const answer = await ask("GET", "/system/functions", undefined, wrong);
      assert.equal(answer.status, 401, wrong);
      assert.match(answer.headers.get("www-authenticate") ?? "", /^Basic /);
      await answer.body?.cancel();
    }
    const elsewhere = await ask("GET", "/v1/functions");
    assert.equal(elsewhere.status, 401, "a password is for /system alone");
    await elsewhere.body?.cancel();
    const info = await get<{ provider: { provider: string }; version: { release: string } }>("/system/info");
    assert.equal(info.provider.provider, "mayfly");
    assert.match(info.version.release, /^\d+\.\d+/);
    assert.deepEqual(await get("/system/namespaces"), ["default"]);
    assert.match(await answered("GET", "/system/alert", 404), /nothing is served/);
  });

  it("deploys images that run as they are: what their watchdog would run has a container for each request", async () => {
    assert.match(
      await answered("PUT", "/system/functions", 404, { service: "upper", image: "classic:1" }),
      /no function/,
    );
    await deploy("upper", "classic:1");
    assert.match(
      await answered("POST", "/system/functions", 409, { service: "upper", image: "classic:1" }),
      /it is there: update it\n$/,
    );
    const answer = await fetch(`${daemon.url}/function/upper`, {
      method: "POST",
      body: "hello",
      headers: { "x-call-id": "mine" },
    });
    assert.equal(await answer.text(), "HELLO");
    assert.equal(answer.headers.get("x-call-id"), "mine");
    assert.match(answer.headers.get("x-duration-seconds") ?? "", /^\d+\.\d+$/);
    await deploy("env", "plain:1", { envProcess: "env", envVars: { content_type: "text/plain" } });
    const shown = await fetch(`${daemon.url}/function/env/some/path?a=b`, { headers: { "x-name": "Ada" } });
    assert.equal(shown.headers.get("content-type"), "text/plain");
    const env = await shown.text();
    for (const line of ["Http_Method=GET", "Http_Path=/some/path", "Http_Query=a=b", "Http_X_Name=Ada"]) {
      assert.ok(env.split("\n").includes(line), `${line} in ${env}`);
    }
    assert.match(env, new RegExp(`^Http_X_Call_Id=${shown.headers.get("x-call-id")}$`, "m"));
    assert.match(env, /^Http_X_Start_Time=\d{19}$/m);
    await deploy("bad", "plain:1", { envProcess: "false" });
    const bad = await fetch(`${daemon.url}/function/bad`);
    assert.equal(bad.status, 500);
    assert.match(bad.headers.get("x-call-id") ?? "", /^[0-9a-f-]{36}$/);
    await bad.body?.cancel();
    assert.equal((await fetch(`${daemon.url}/function/nothing`)).status, 404);
  });

  it("serves of-watchdog's servers", async () => {
    await deploy("web", "of:1");
    assert.match(await (await fetch(`${daemon.url}/function/web/passwd`)).text(), /^root:x:0:0/);
    const record = await (await daemon.admin("GET", "/v1/functions/web")).json() as Record<string, unknown>;
    assert.deepEqual([record["protocol"], record["port"]], ["http", 8081]);
    await answered("POST", "/system/scale-function/web", 202, { serviceName: "web", replicas: 2 });
    assert.equal((await status("web")).replicas, 2);
    await answered("DELETE", "/system/functions", 202, { functionName: "web" });
  });

  it("lists, describes, updates, scales and removes", async () => {
    await answered("PUT", "/system/functions", 202, {
      service: "upper",
      image: "classic:1",
      envVars: { exec_timeout: "1m30s", a: "b" },
      labels: { team: "x", "com.openfaas.scale.min": "2" },
      annotations: { topic: "y" },
      limits: { memory: "64Mi", cpu: "500m" },
      requests: { memory: "32Mi" },
      constraints: ["node.platform.os == linux"],
      readOnlyRootFilesystem: true,
      network: "func_functions",
    });
    const { createdAt, ...rest } = await status("upper");
    assert.ok(!Number.isNaN(Date.parse(createdAt)));
    assert.deepEqual(rest, {
      name: "upper",
      image: rest.image,
      namespace: "default",
      envProcess: "",
      envVars: { exec_timeout: "1m30s", a: "b" },
      constraints: [],
      secrets: [],
      labels: { team: "x", "com.openfaas.scale.min": "2" },
      annotations: { topic: "y" },
      limits: { memory: String(64 * 2 ** 20), cpu: "0.5" },
      readOnlyRootFilesystem: true,
      invocationCount: 1,
      replicas: 2,
      availableReplicas: 2,
    });
    const record = await (await daemon.admin("GET", "/v1/functions/upper")).json() as Record<string, unknown>;
    assert.deepEqual([record["timeoutMs"], record["prepared"]], [90_000, 2]);
    await answered("POST", "/system/scale-function/upper", 202, { serviceName: "upper", replicas: 0 });
    assert.equal((await status("upper")).availableReplicas, 1);
    const names = (await get<Status[]>("/system/functions")).map(({ name }) => name);
    assert.deepEqual(names, ["bad", "env", "upper"]);
    assert.match(await answered("POST", "/system/functions", 400, { service: "No", image: "x" }), /"service"/);
    assert.match(
      await answered("POST", "/system/functions", 400, { service: "no", image: "plain:1", limits: { memory: "much" } }),
      /128Mi/,
    );
    await answered("DELETE", "/system/functions", 404, { functionName: "no" });
    await answered("GET", "/system/function/no", 404);
  });

  it("has functions of other namespaces", async () => {
    const layout = join(folder, "layout");
    await mayfly(["import", ...stateFlags(folder), "-n", "dev", layout], { input: "" });
    await deploy("upper", "classic:1", { namespace: "dev" });
    assert.equal(
      await (await fetch(`${daemon.url}/function/upper.dev`, { method: "POST", body: "dev" })).text(),
      "DEV",
    );
    assert.equal((await status("upper", "?namespace=dev")).namespace, "dev");
    assert.deepEqual(await get("/system/namespaces"), ["default", "dev"]);
    const made = await mayfly(["token", "create", ...stateFlags(folder), "ci", "-n", "dev", "--scope", "deploy"]);
    const own = basic("admin", made.stdout.trim().split(/\s+/).at(-1) ?? "");
    const allowed = async (method: string, path: string, body?: unknown) => {
      const answer = await ask(method, path, body, own);
      await answer.body?.cancel();
      return answer.status;
    };
    assert.equal(await allowed("GET", "/system/functions?namespace=dev"), 200, made.stderr);
    assert.equal(await allowed("GET", "/system/functions"), 403);
    assert.equal(await allowed("DELETE", "/system/functions", { functionName: "upper" }), 403);
    assert.equal(await allowed("POST", "/system/secrets", { name: "a", value: "b" }), 403);
    assert.equal(await allowed("DELETE", "/system/functions?namespace=dev", { functionName: "upper" }), 202);
  });

  it("keeps secrets", async () => {
    await answered("POST", "/system/secrets", 201, { name: "key", value: password });
    await answered("POST", "/system/secrets", 409, { name: "key", value: password });
    assert.deepEqual(await get("/system/secrets"), [{ name: "key", namespace: "default" }]);
    await deploy("secret", "plain:1", { envProcess: "cat /var/openfaas/secrets/key", secrets: ["key"] });
    assert.equal(await (await fetch(`${daemon.url}/function/secret`)).text(), password);
    await answered("PUT", "/system/secrets", 200, { name: "key", rawValue: btoa("\x00\xff") });
    const bytes = new Uint8Array(await (await fetch(`${daemon.url}/function/secret`)).arrayBuffer());
    assert.deepEqual([...bytes], [0, 255]);
    assert.match(await answered("PUT", "/system/secrets", 400, { name: "key", rawValue: "?" }), /no base64/);
    await answered("PUT", "/system/secrets", 404, { name: "other", value: "x" });
    assert.match(await answered("DELETE", "/system/secrets", 409, { name: "key" }), /function secret has it/);
    assert.match(
      await answered("POST", "/system/functions", 409, { service: "no", image: "plain:1", secrets: ["other"] }),
      /mayfly secret create other/,
    );
    await answered("DELETE", "/system/functions", 202, { functionName: "secret" });
    await answered("DELETE", "/system/secrets", 202, { name: "key" });
  });

  it("invokes later", async () => {
    const answer = await fetch(`${daemon.url}/async-function/upper`, { method: "POST", body: "later" });
    assert.equal(answer.status, 202);
    assert.equal(await answer.text(), "");
    const id = answer.headers.get("x-call-id");
    const text = await until(async () => {
      const result = await fetch(`${daemon.url}/async/calls/${id}/answer`);
      const body = await result.text();
      return result.status === 200 ? body : undefined;
    });
    assert.equal(text, "LATER");
    const called = await fetch(`${daemon.url}/async-function/upper`, {
      method: "POST",
      body: "back",
      headers: { "x-callback-url": `http://${host}/back` },
    });
    await called.body?.cancel();
    const { headers, body } = await until(() => told[0]);
    assert.equal(body, "BACK");
    assert.equal(headers["x-call-id"], called.headers.get("x-call-id"));
    assert.deepEqual([headers["x-function-name"], headers["x-function-status"]], ["upper", "200"]);
  });

  it("tells what functions have logged, and goes on", async () => {
    await deploy("loud", "plain:1", { envProcess: "cat /nothing" });
    await (await fetch(`${daemon.url}/function/loud`)).body?.cancel();
    const logs = async (query: string) => {
      const lines = (await answered("GET", `/system/logs?name=loud${query}`, 200)).split("\n").filter((line) =>
        line !== ""
      );
      return lines.map((line) => JSON.parse(line) as Readonly<Record<string, string>>);
    };
    const lines = await until(async () => {
      const all = await logs("&tail=-1&follow=false");
      return all.length === 2 ? all : undefined;
    });
    assert.match(lines[0]?.["text"] ?? "", /cat: can't open '\/nothing'/);
    assert.match(lines[1]?.["text"] ?? "", /^failed after .* ms: the function ended with exit code 1$/);
    assert.deepEqual([lines[0]?.["name"], lines[0]?.["namespace"]], ["loud", "default"]);
    assert.equal((await logs("&tail=1")).length, 1);
    assert.equal((await logs(`&since=${new Date(Date.now() + 60_000).toISOString()}`)).length, 0);
    const follow = await ask("GET", "/system/logs?name=loud&follow=true&tail=1");
    assert.equal(follow.headers.get("content-type"), "application/x-ndjson");
    let text = "";
    const reader = follow.body?.pipeThrough(new TextDecoderStream()).getReader();
    const upTo = async (count: number) => {
      while (text.split("\n").length <= count) text += (await reader?.read())?.value ?? assert.fail("it ended");
    };
    await upTo(1);
    await (await fetch(`${daemon.url}/function/loud`)).body?.cancel();
    await upTo(3);
    assert.match(text.split("\n")[1] ?? "", /can't open/);
    await reader?.cancel();
    await answered("GET", "/system/logs?name=nothing", 404);
    await answered("GET", "/system/logs", 400);
  });
});
