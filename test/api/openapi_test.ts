import { Ajv2020 } from "ajv/dist/2020.js";
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createApp } from "../../src/api/app.ts";
import type { ApiParts } from "../../src/api/parts.ts";
import { frameType } from "../../src/core/stdio_frames.ts";
import { workingCriu } from "../support/criu.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

interface Media {
  readonly schema?: { readonly $ref?: string };
}
interface Operation {
  readonly operationId: string;
  readonly summary?: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema?: object }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Record<string, Media> }>
  >;
}
interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

describe("/openapi.json", () => {
  let world: World;
  let api: Document;
  const seen = new Set<string>();
  // Formats are checked by what is parsed, and words of OpenAPI's own are none of JSON Schema's.
  const ajv = new Ajv2020({ strict: false, validateFormats: false });

  before(async () => {
    world = await World.open({}, {}, { criu: workingCriu() });
    api = await world.admin<Document>("GET", "/openapi.json");
    ajv.addSchema({ $id: "api", ...api });
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const operations = () =>
    Object.entries(api.paths).flatMap(([path, verbs]) =>
      Object.entries(verbs).map(([verb, operation]) => ({ key: `${verb.toUpperCase()} ${path}`, path, operation }))
    );

  /** Asks, and holds the answer against what the description says of the route. */
  async function call<T>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    const [pathname = ""] = path.split("?");
    const fitting = operations().filter(({ key, path: template }) =>
      key.startsWith(`${method} `) &&
      new RegExp(`^${template.replaceAll(".", "\\.").replace(/\{path\}/, ".+").replace(/\{\w+\}/g, "[^/]+")}$`).test(
        pathname,
      )
    );
    // A word in the path says more than a parameter.
    const [found] = fitting.sort((a, b) => a.path.split("{").length - b.path.split("{").length);
    assert.ok(found, `${method} ${path} is not described`);
    for (const name of new URLSearchParams(path.split("?")[1]).keys()) {
      assert.ok(
        found.operation.parameters?.some((one) => one.in === "query" && one.name === name),
        `${found.key} ?${name}`,
      );
    }
    const answer = await world.ask(method, path, body, headers);
    const said = found.operation.responses[String(answer.status)];
    if (said === undefined) assert.fail(`${found.key} answers ${answer.status}: ${await answer.text()}`);
    const type = answer.headers.get("content-type")?.split(";")[0] ?? "";
    if (said.content === undefined) {
      assert.equal(answer.body, null, found.key);
      seen.add(found.key);
      return undefined as T;
    }
    assert.ok(said.content[type], `${found.key} answers ${type}, which is not described`);
    if (answer.ok) seen.add(found.key);
    if (!type.endsWith("json")) {
      await answer.body?.cancel();
      return undefined as T;
    }
    const value = await answer.json();
    const pointer = [
      "paths",
      found.path,
      method.toLowerCase(),
      "responses",
      String(answer.status),
      "content",
      type,
      "schema",
    ]
      .map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")));
    const valid = ajv.validate(`api#/${pointer.join("/")}`, value);
    assert.ok(valid, `${found.key}: ${ajv.errorsText()}: ${JSON.stringify(value).slice(0, 400)}`);
    return value as T;
  }

  it("describes every route but those of other APIs, and no other", () => {
    const { routes } = createApp({} as ApiParts, { listener: "socket" });
    const served = new Set(
      routes.filter(({ method, path }) => method !== "ALL" && !/^\/(?:20\d\d-|system\/)/.test(path)).map((
        { method, path },
      ) => `${method} ${path.replace(/:(\w+)/g, "{$1}").replace(/(.)\/$/, "$1")}`),
    );
    const described = operations().map(({ key }) => key).filter((key) => !/ (\/async)?\/fn\//.test(key));
    assert.deepEqual(described.sort(), [...served].sort());
    assert.deepEqual(Object.keys(api.paths).filter((path) => path.startsWith("/fn/")), [
      "/fn/{target}",
      "/fn/{target}/{path}",
    ]);
  });

  it("says of each what it does, takes, answers and refuses with", () => {
    assert.equal(api.openapi, "3.1.0");
    const ids = operations().map(({ operation }) => operation.operationId);
    assert.equal(new Set(ids).size, ids.length);
    for (const { key, path, operation } of operations()) {
      assert.ok(operation.summary, key);
      assert.ok(Object.keys(operation.responses).some((status) => /^101|^2/.test(status)), key);
      assert.ok(operation.responses["default"]?.content?.["application/problem+json"], key);
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      assert.deepEqual(operation.parameters?.filter((one) => one.in === "path").map(({ name }) => name) ?? [], named);
    }
    const text = JSON.stringify(api);
    for (const [, name = ""] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      assert.ok(api.components.schemas[name], name);
    }
    assert.match(text, /"#\/components\/schemas\/Container"/);
    const create = api.paths["/v1/containers"]?.["post"]?.requestBody?.content["application/json"]?.schema as {
      required: string[];
      properties: Record<string, { maximum?: number }>;
    };
    assert.deepEqual(create.required, ["image"]);
    assert.equal(create.properties["pids"]?.maximum, 4_194_304);
  });

  it("is what is really answered, on every route", async () => {
    await call("GET", "/healthz");
    await call("GET", "/metrics");
    await call("GET", "/openapi.json");
    await call("GET", "/v1/info");
    await call("GET", "/v1/plugins");
    await call("POST", "/v1/gc", { dryRun: true });
    await call("GET", "/v1/system/df");
    await call("POST", "/v1/content/verify", {});
    await call("POST", "/v1/content/recover", {});
    await call("POST", "/v1/secrets/described", "value");
    await call("PUT", "/v1/secrets/described", "another");
    await call("GET", "/v1/secrets");
    await call("DELETE", "/v1/secrets/described");
    await call("POST", "/v1/namespaces", { name: "described" });
    await call("GET", "/v1/namespaces");
    await call("DELETE", "/v1/namespaces/described");
    await call("POST", "/v1/tokens", { name: "described", scopes: ["read"], expiresInMs: 1000 });
    await call("GET", "/v1/tokens?namespace=default");
    await call("DELETE", "/v1/tokens/described");
    await call("GET", "/v1/images");
    await call("POST", "/v1/images", { reference: "127.0.0.1:1/nothing:1" });
    await call("POST", "/v1/images/import", { path: join(world.folder, "layout"), name: "other:1" });
    await call("POST", "/v1/images/export", { name: "other:1", path: join(world.folder, "exported.tar") });
    const built = encodeURIComponent(JSON.stringify({ name: "localhost/built:1", base: "other:1" }));
    await call("POST", `/v1/images/build?settings=${built}`, new Uint8Array(1024));
    await call("POST", "/v1/images/tag", { name: "other:1", target: "another:1" });
    await call("POST", "/v1/images/verify", { name: "other:1" });
    await call("POST", "/v1/images/push", { name: "other:1", to: "127.0.0.1:1/nothing:1" });
    await call("DELETE", "/v1/images?name=other:1");
    await call("DELETE", "/v1/images?name=another:1");

    await call("PUT", "/v1/functions/one", { image: "box:1", command: ["cat"] });
    await call("PUT", "/v1/functions/one", { image: "box:1", command: ["cat"], labels: { a: "b" } });
    await call("GET", "/v1/functions/one");
    await call("GET", "/v1/functions");
    await call("GET", "/v1/functions/one/revisions");
    await call("GET", "/v1/functions/one/traffic");
    await call("PUT", "/v1/functions/one/traffic", {
      split: [{ revision: "latest", percent: 100 }],
      tags: { blue: "1" },
    });
    await call("PATCH", "/v1/functions/one/traffic", { tags: { blue: null } });
    await call("POST", "/v1/functions/one/rollback", { to: "latest" });
    for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
      await call(method, "/fn/one");
      await call(method, "/fn/one/below");
      await call(method, "/async/fn/one");
      await call(method, "/async/fn/one/below");
    }
    await call("PUT", "/v1/functions/bad", { image: "box:1", command: ["false"], asyncAttempts: 1 });
    const { id: failing } = await call<{ id: string }>("POST", "/async/fn/bad");
    const status = async () => (await call<{ status: string }>("GET", `/async/calls/${failing}`)).status;
    await until(async () => await status() === "failed");
    await call("GET", "/v1/calls?function=bad&status=failed");
    await call("PUT", "/v1/functions/bad", { image: "box:1", command: ["true"] });
    await call("POST", `/v1/calls/${failing}/replay`);
    await until(async () => await status() === "succeeded");
    await call("GET", `/v1/calls/${failing}`);
    await call("GET", `/async/calls/${failing}/answer`);
    await call("DELETE", `/v1/calls/${failing}`);
    await call("DELETE", "/v1/functions/bad");
    const { items: [invocation] } = await call<{ items: { id: string }[] }>("GET", "/v1/functions/one/logs?limit=1");
    await call("GET", "/v1/invocations?function=one");
    await call("GET", `/v1/invocations/${invocation?.id}`);
    await call("DELETE", "/v1/functions/one");
    const settings = (value: unknown) => `settings=${encodeURIComponent(JSON.stringify(value))}`;
    await call("POST", `/v1/run?${settings({ image: "box:1", command: ["true"] })}`);

    const input = { image: "box:1", command: ["sleep", "60"], name: "two", labels: { a: "b" } };
    const { id } = await call<{ id: string }>("POST", "/v1/containers", input);
    await call("POST", "/v1/containers", input);
    await call("POST", `/v1/containers/${id}/kill`);
    await call("POST", `/v1/containers/${id}/start`);
    await call("GET", `/v1/containers/${id}`);
    await call("GET", "/v1/containers?all=true&label=a");
    for (const verb of ["processes", "stats", "stats/stream", "logs?tail=1&timestamps=true", "changes"]) {
      await call("GET", `/v1/containers/${id}/${verb}`);
    }
    await call("GET", `/v1/containers/${id}/archive?path=/bin/sh`);
    await call("GET", `/v1/containers/${id}/archive/stat?path=/bin/sh`);
    await call("PUT", `/v1/containers/${id}/archive?path=/tmp`, new Uint8Array(1024));
    await call("POST", `/v1/containers/${id}/commit`, { name: "three:1" });
    await call("POST", `/v1/containers/${id}/checkpoint`, { name: "four:1", leaveRunning: true });
    await call("PATCH", `/v1/containers/${id}`, { labels: { c: "d" }, resources: { pids: 100 } });
    await call("POST", `/v1/containers/${id}/pause`);
    await call("POST", `/v1/containers/${id}/resume`);

    await call("GET", "/v1/events?topic=/tasks/");
    await call("GET", "/v1/tasks");
    await call("GET", `/v1/tasks/${id}`);
    for (const verb of ["processes", "stats", "stats/stream", "events"]) await call("GET", `/v1/tasks/${id}/${verb}`);
    await call("PATCH", `/v1/tasks/${id}`, { resources: { pids: 100 } });
    await call("POST", `/v1/tasks/${id}/pause`);
    await call("POST", `/v1/tasks/${id}/resume`);
    await call("POST", `/v1/tasks/${id}/exec?${settings({ command: ["true"] })}`);
    await call("POST", `/v1/tasks/${id}/processes`, { id: "more", command: ["sleep", "60"], tty: true });
    await call("GET", `/v1/tasks/${id}/processes`);
    await call("POST", `/v1/tasks/${id}/resize?process=more`, { width: 80, height: 24 });
    await call("POST", `/v1/tasks/${id}/kill?process=more`);
    await call("POST", `/v1/tasks/${id}/wait?process=more`);
    await call("DELETE", `/v1/tasks/${id}?process=more`);
    await call("GET", "/v1/tasks/nothing");
    await call("POST", `/v1/containers/${id}/stop?graceMs=0`);
    await call("POST", `/v1/containers/${id}/wait`);
    await call("POST", `/v1/containers/${id}/start`);
    await call("POST", `/v1/containers/${id}/kill`);
    await call("POST", `/v1/containers/${id}/wait`);

    const { items: snapshots } = await call<{ items: { snapshotter: string; key: string }[] }>("GET", "/v1/snapshots");
    const [{ snapshotter, key } = { snapshotter: "", key: "" }] = snapshots;
    const one = `snapshotter=${snapshotter}&key=${encodeURIComponent(key)}`;
    await call("GET", `/v1/snapshots/stat?${one}`);
    await call("PATCH", `/v1/snapshots?${one}`, { labels: { seen: "yes" } });
    await call("GET", `/v1/containers/${id}/logs?follow=true`, undefined, { accept: frameType });
    await call("DELETE", `/v1/containers/${id}`);
    await call("POST", "/v1/containers/prune");
    // What becomes a WebSocket is no answer to be read here.
    const answered = operations().filter(({ operation }) => operation.responses["101"] === undefined);
    assert.deepEqual(answered.map(({ key }) => key).filter((key) => !seen.has(key)), []);
  });
});
