import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Scope } from "../../src/core/access.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";

interface Operation {
  readonly security: readonly { readonly token?: readonly Scope[] }[];
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}
interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
}

describe("who may do what over TCP", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-access-"));
  let daemon: MayflyProcess;
  /** By name: the scope, and the namespace behind a dash. */
  const tokens = new Map<string, string>();
  const flags = ["--log-level", "info", "--admin-tcp", "--registry-listen", "127.0.0.1:0"];
  const command = (...args: readonly string[]) =>
    mayfly([...args.slice(0, 1), ...stateFlags(folder), ...args.slice(1)]);
  const out = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await command(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const create = async (name: string, ...args: readonly string[]) => {
    const token = await out("token", "create", name, ...args);
    tokens.set(name, token);
    return token;
  };
  const ask = async (method: string, path: string, token?: string, body?: unknown) => {
    const answer = await fetch(`${daemon.url}${path}`, {
      method,
      headers: token === undefined ? {} : { authorization: `Bearer ${tokens.get(token) ?? token}` },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(20_000),
    });
    return answer;
  };
  const status = async (...asked: Parameters<typeof ask>): Promise<number> => {
    const answer = await ask(...asked);
    await answer.body?.cancel();
    return answer.status;
  };
  const problem = async (...asked: Parameters<typeof ask>): Promise<Problem> =>
    await (await ask(...asked)).json() as Problem;

  before(async () => {
    daemon = await MayflyProcess.start(folder, flags);
    const image = makeBusyboxImage(folder, "box:1");
    for (const namespace of ["default", "other"]) await out("import", image, "--namespace", namespace);
    for (const scope of ["admin", "deploy", "invoke", "read"]) {
      await create(scope, "--scope", scope);
      await create(`${scope}-other`, "--scope", scope, "--namespace", "other");
      await create(`${scope}-all`, "--scope", scope, "--namespace", "*");
    }
    await out("deploy", "open", "--image", "box:1", "--", "cat");
    await out(
      "deploy",
      "shut",
      "--image",
      "box:1",
      "--auth",
      "token",
      "--",
      "sh",
      "-c",
      "cat; env | grep -i mayfly_ | sort",
    );
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("is asked of every route that is described: a token, and its scope", async () => {
    const api = await (await ask("GET", "/openapi.json", "read")).json() as Document;
    const less = { read: "invoke", invoke: "read", deploy: "read", admin: "deploy" } as const;
    let routes = 0;
    for (const [template, verbs] of Object.entries(api.paths)) {
      for (const [verb, { security, parameters }] of Object.entries(verbs)) {
        if (template === "/healthz" || template.startsWith("/async/calls/")) continue;
        const function_ = /^(\/async)?\/fn\//.test(template);
        const path = function_
          ? template.replace("{target}", "shut").replace("{path}", "x")
          : template.replace(/\{\w+\}/g, "nothing");
        const key = `${verb} ${template}`;
        const method = verb.toUpperCase();
        const [scope] = security[0]?.token ?? [];
        assert.ok(scope, key);
        const without = await problem(method, path);
        assert.deepEqual([without.status, without.code], [401, "unauthenticated"], key);
        assert.match(without.detail, /wanted Authorization: Bearer <token>, mayfly token create makes one/);
        assert.equal(await status(method, path, `${tokens.get("admin")}x`), 401, key);
        const refused = await problem(method, path, `${less[scope]}-all`);
        assert.deepEqual([refused.status, refused.code], [403, "permission_denied"], key);
        assert.match(refused.detail, new RegExp(`token "${less[scope]}-all" has .*, wanted ${scope} in `), key);
        // Where a namespace is named or meant, who has another is refused.
        if (function_ || parameters?.some(({ name }) => name === "namespace") && template !== "/v1/tokens") {
          assert.equal(await status(method, path, "admin-other"), 403, key);
        }
        routes++;
      }
    }
    assert.ok(routes > 70, `${routes}`);
  });

  it("is granted by the scope that is wanted, and by those that include it", async () => {
    for (
      const [method, path, may] of [
        ["GET", "/v1/functions", ["read", "deploy", "admin", "read-all"]],
        ["GET", "/v1/functions?namespace=other", ["read-other", "admin-all"]],
        ["GET", "/v1/events", ["read-all"]],
        ["GET", "/v1/events?namespace=default", ["read"]],
        ["GET", "/metrics", ["read-all", "deploy-all", "admin-all"]],
        ["GET", "/v1/namespaces", ["read", "read-other"]],
        ["POST", "/fn/shut", ["invoke", "deploy", "admin", "invoke-all"]],
        ["POST", "/fn/open", ["nobody's"]],
      ] as const
    ) {
      for (const token of may) assert.equal(await status(method, path, token), 200, `${method} ${path} ${token}`);
    }
    assert.equal(await status("GET", "/v1/events", "read"), 403);
    assert.equal(await status("POST", "/v1/gc", "admin", { dryRun: true }), 403);
    assert.equal(await status("POST", "/v1/gc", "admin-all", { dryRun: true }), 200);
    assert.equal(await status("GET", "/v1/functions?namespace=default&namespace=other", "admin"), 400);
    assert.equal(await status("GET", "/v1/nothing", "read"), 404);
    assert.equal(await status("PATCH", "/v1/functions/open", "read"), 405);
    const { items } = await (await ask("GET", "/v1/namespaces", "read-other")).json() as { items: { name: string }[] };
    assert.deepEqual(items.map(({ name }) => name), ["other"]);
  });

  it("lets who deploys have containers, but not the machine", async () => {
    const input = { image: "box:1", command: ["true"] };
    assert.equal(await status("PUT", "/v1/functions/mine", "deploy", input), 201);
    assert.equal(await status("PUT", "/v1/functions/mine?namespace=other", "deploy", input), 403);
    const mounts = [{ type: "bind", source: "/etc", target: "/host" }];
    const run = (settings: object) =>
      `/v1/run?settings=${encodeURIComponent(JSON.stringify({ ...input, ...settings }))}`;
    for (const token of ["deploy", "admin"]) {
      for (const more of [{ mounts }, { network: "host" }, { restore: true }]) {
        const refused = await problem("PUT", "/v1/functions/mine", token, { ...input, ...more });
        assert.equal(refused.status, 403, JSON.stringify(more));
        assert.match(refused.detail, /it reaches the machine.*wanted admin in all namespaces/);
        assert.equal(await status("POST", "/v1/containers", token, { ...input, ...more }), 403);
        assert.equal(await status("POST", run(more), token), 403);
      }
    }
    assert.equal(
      await status("PUT", "/v1/functions/mine", "deploy", { ...input, mounts: [{ type: "tmpfs", target: "/x" }] }),
      200,
    );
    assert.equal(await status("PUT", "/v1/functions/mine", "admin-all", { ...input, mounts }), 200);
    assert.equal(await status("POST", "/v1/images/import", "admin", { path: "/etc" }), 403);
    assert.equal(await status("DELETE", "/v1/functions/mine", "deploy"), 204);
  });

  it("is kept from the function, which never sees its callers' tokens", async () => {
    const answer = await ask("POST", "/fn/shut", "invoke", "hello\n");
    const text = await answer.text();
    assert.match(text, /^hello\n/);
    assert.doesNotMatch(text, /mayfly_[0-9a-f]{16}/);
  });

  it("is asked for asynchronous calls, and for what became of them", async () => {
    assert.equal(await status("POST", "/async/fn/shut"), 401);
    const { id } = await (await ask("POST", "/async/fn/shut", "invoke", "x")).json() as { id: string };
    for (const path of [`/async/calls/${id}`, `/async/calls/${id}/answer`]) {
      assert.equal(await status("GET", path), 401);
      assert.equal(await status("GET", path, "read"), 403);
      assert.ok([200, 202].includes(await status("GET", path, "invoke")));
    }
    const open = await (await ask("POST", "/async/fn/open")).json() as { id: string };
    assert.equal(await status("GET", `/async/calls/${open.id}`), 200);
  });

  it("is asked by the registry: read to pull, deploy to push", async () => {
    const url = /listens on (http:\S+\/v2\/)/.exec(daemon.log())?.[1] ?? "";
    const login = async (user: string, token: string, method = "GET", path = "") => {
      const password = tokens.get(token) ?? token;
      const answer = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Basic ${btoa(`${user}:${password}`)}` },
      });
      await answer.body?.cancel();
      return answer.status;
    };
    assert.equal((await fetch(url)).status, 401);
    assert.equal(await login("default", "nobody's"), 401);
    for (const token of ["read", "deploy", "admin", "read-all"]) {
      assert.equal(await login("default", token), 200, token);
    }
    for (const token of ["invoke", "admin-other"]) assert.equal(await login("default", token), 403, token);
    assert.equal(await login("other", "read-other"), 200);
    assert.equal(await login("*", "admin-all"), 401);
    assert.equal(await login("default", "read", "POST", "box/blobs/uploads/"), 403);
    assert.equal(await login("default", "deploy", "POST", "box/blobs/uploads/"), 202);
  });

  it("is made by who administers a namespace, for that one alone", async () => {
    const input = { name: "child", scopes: ["deploy"] };
    assert.equal(await status("POST", "/v1/tokens", "deploy", input), 403);
    assert.equal(await status("POST", "/v1/tokens?namespace=other", "admin", input), 403);
    assert.equal(await status("POST", "/v1/tokens?namespace=*", "admin", input), 403);
    const made = await ask("POST", "/v1/tokens", "admin", input);
    assert.equal(made.status, 201);
    const { token } = await made.json() as { token: string };
    assert.equal(await status("GET", "/v1/functions", token), 200);
    const { items } = await (await ask("GET", "/v1/tokens", "admin")).json() as { items: { namespace: string }[] };
    assert.deepEqual([...new Set(items.map(({ namespace }) => namespace))], ["default"]);
    assert.equal(await status("DELETE", "/v1/tokens/child", "admin"), 204);
    assert.equal(await status("GET", "/v1/functions", token), 401);
    for (const wrong of [{ name: "A", scopes: ["read"] }, { name: "a", scopes: [] }, { name: "a", scopes: ["all"] }]) {
      assert.equal(await status("POST", "/v1/tokens", "admin", wrong), 400);
    }
  });

  it("outlives a crash, is listed without secrets, ends when it is removed", async () => {
    await create("short", "--scope", "read", "--expires", "1ms");
    const last = await create("last", "--scope", "read,invoke", "--expires", "30d");
    await daemon.end("SIGKILL");
    daemon = await MayflyProcess.start(folder, flags);
    assert.equal(await status("GET", "/v1/functions", "last"), 200);
    const late = await problem("GET", "/v1/functions", "short");
    assert.equal(late.status, 401);
    assert.match(late.detail, /token "short" has expired at/);
    const table = await out("token", "list");
    assert.match(table, /^last +default +read,invoke +[0-9a-f]{16} +- +\d+ seconds? ago +2/m);
    assert.equal(await out("token", "remove", "last"), "last");
    assert.equal(await status("GET", "/v1/functions", "last"), 401);
    const again = await command("token", "remove", "last");
    assert.match(again.stderr, /cannot remove token "last": there is none of this name in namespace "default"/);
    const wrong = await command("token", "create", "x");
    assert.match(wrong.stderr, /it wants a name and --scope/);
    // Neither in what is listed or logged, nor on the disk.
    const written = readdirSync(join(folder, "root")).filter((name) => name.startsWith("mayfly.db"));
    const seen = [table, daemon.log(), ...written.map((name) => readFileSync(join(folder, "root", name), "latin1"))];
    for (const token of [...tokens.values(), last]) {
      const [, , ...secret] = token.split("_");
      assert.ok(seen.every((text) => !text.includes(secret.join("_"))));
    }
  });
});
