import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { attribute, receiveOtlp } from "../monitoring/otlp_receiver.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";

/** Every name that the conventions know and do not call outdated. */
function conventions(): ReadonlySet<string> {
  const names = new Set<string>();
  for (const file of ["stable_attributes", "experimental_attributes", "stable_metrics", "experimental_metrics"]) {
    const path = new URL(`../../node_modules/@opentelemetry/semantic-conventions/dist/${file}.d.mts`, import.meta.url);
    for (
      const [, comment = "", name = ""] of readFileSync(path, "utf8").matchAll(
        /\/\*\*([^]*?)\*\/\s*declare const \w+: "([^"]+)"/g,
      )
    ) {
      if (!comment.includes("@deprecated")) names.add(name);
    }
  }
  return names;
}

describe("what a collector and Prometheus are told", () => {
  const seen = {
    spans: [] as Awaited<ReturnType<typeof receiveOtlp>>["spans"],
    metrics: [] as Awaited<ReturnType<typeof receiveOtlp>>["metrics"],
    prometheus: "",
  };
  const statuses: Record<string, number> = {};

  before(async () => {
    await using receiver = await receiveOtlp();
    Object.assign(process.env, { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" });
    {
      await using world = await World.open();
      await world.script("ok", "cat");
      await world.script("fails", "exit 3");
      await world.script("small", "cat", { maxBodyBytes: 3, concurrency: 1 });
      const ask = async (name: string, path: string, ...args: string[]) => {
        statuses[name] = (await world.curl(path, ...args)).status;
      };
      await ask("ok", "/fn/ok/below", "-d", "x");
      await ask("fails", "/fn/fails");
      await ask("too_large", "/fn/small", "-d", "four");
      await ask("unknown", "/fn/nobody");
      await ask("malformed", "/fn/No");
      await ask("foreign", "/fn/ok", "-H", "Host: evil.example");
      // The first one holds the only place until its body ends.
      const holder = connect(Number(new URL(world.url).port), "127.0.0.1");
      holder.write("POST /fn/small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n");
      await until(async () => (await world.running()) > 0);
      await ask("full", "/fn/small");
      holder.write("x");
      assert.match(String((await once(holder, "data"))[0]), /^HTTP\/1\.1 200 /);
      holder.destroy();
      await world.last("small");
      assert.equal(
        (await world.ask("POST", "/v1/images", { reference: "127.0.0.1:1/none:1" }).then((a) => a.text())).includes(
          "unavailable",
        ),
        true,
      );
      await world.last("ok");
      seen.prometheus = await (await world.ask("GET", "/metrics")).text();
    }
    Object.assign(seen, { spans: receiver.spans, metrics: receiver.metrics });
  });
  after(() => {
    for (const name of Object.keys(process.env)) if (name.startsWith("OTEL_")) delete process.env[name];
  });

  const span = (name: string, status?: number) => {
    const found = seen.spans.find((one) =>
      one.name === name && (status === undefined || attribute(one.attributes, "http.response.status_code") === status)
    );
    assert.ok(found, `no span ${name} ${status ?? ""} in ${seen.spans.map((one) => one.name).join(", ")}`);
    return found;
  };
  const below = (parent: { readonly spanId: string }) =>
    seen.spans.filter((one) => one.parentSpanId === parent.spanId).map((one) => one.name).toSorted();

  it("an invocation's span has what it was asked, answered, and ran in", () => {
    const server = span("ok", 200);
    const facts = Object.fromEntries(server.attributes.map(({ key }) => [key, attribute(server.attributes, key)]));
    assert.equal(server.kind, 2);
    assert.equal(facts["http.request.method"], "POST");
    assert.equal(facts["http.route"], "/fn/{name}");
    assert.equal(facts["url.path"], "/fn/ok/below");
    assert.equal(facts["client.address"], "127.0.0.1");
    assert.equal(facts["faas.trigger"], "http");
    assert.equal(facts["faas.coldstart"], true);
    assert.equal(facts["container.id"], facts["faas.invocation.id"]);
    assert.equal(facts["container.image.name"], "box:1");
    assert.equal(facts["container.runtime.name"], "native");
    assert.match(String(facts["oci.manifest.digest"]), /^sha256:/);
    assert.equal(facts["process.exit.code"], 0);
    assert.equal(facts["error.type"], undefined);
    assert.ok(["prepare", "create", "start", "run", "exit", "cleanup"].every((name) => below(server).includes(name)));
  });

  it("a failure has its status and what it is", () => {
    const server = span("fails", 500);
    assert.equal(attribute(server.attributes, "error.type"), "failed_precondition");
    assert.equal(attribute(server.attributes, "process.exit.code"), 3);
    assert.equal(server.status.code, 2);
  });

  it("what is refused has a span, which is no error of the server", () => {
    assert.deepEqual(statuses, {
      ok: 200,
      fails: 500,
      too_large: 413,
      unknown: 404,
      malformed: 400,
      foreign: 403,
      full: 429,
    });
    const wanted = [[413, "body_too_large"], [404, "not_found"], [400, "invalid_argument"], [
      429,
      "resource_exhausted",
    ]] as const;
    for (const [status, type] of wanted) {
      const one = seen.spans.find(({ attributes }) => attribute(attributes, "http.response.status_code") === status);
      assert.ok(one !== undefined, `no span with ${status}`);
      assert.match(one.name, /^(?:GET|POST) \/fn\/\{name\}$/);
      assert.equal(attribute(one.attributes, "error.type"), type);
      assert.notEqual(one.status.code, 2);
    }
    assert.equal(attribute(span("GET", 403).attributes, "error.type"), "permission_denied");
  });

  it("imports, deployments and pulls have spans with their steps below", () => {
    assert.deepEqual(below(span("POST /v1/images/import")), ["import"]);
    assert.deepEqual(below(span("import")), ["read", "record"]);
    assert.deepEqual(below(span("PUT /v1/functions/{name}")), ["deploy"]);
    assert.deepEqual(below(span("deploy")), ["record", "unpack"]);
    assert.deepEqual(below(span("unpack")), ["layer"]);
    assert.deepEqual(below(span("pull")), ["resolve"]);
    assert.equal(attribute(span("pull").attributes, "error.type"), "unavailable");
  });

  it("names of attributes and metrics are those of the conventions, or mayfly's own", () => {
    const known = conventions();
    assert.ok(known.has("http.route"));
    const used = [
      ...seen.spans.flatMap(({ attributes }) => attributes.map(({ key }) => key)),
      ...seen.metrics.map(({ name }) => name),
    ];
    // The convention has a name for each header field.
    const isKnown = (name: string) => known.has(name) || /^(?:mayfly|http\.request\.header)\./.test(name);
    assert.deepEqual([...new Set(used)].filter((name) => !isKnown(name)), []);
  });

  it("both are told the same numbers", () => {
    const lines = seen.prometheus.split("\n");
    const count = (pattern: RegExp) =>
      lines.filter((line) => pattern.test(line)).reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
    const points = (name: string) => {
      // The last of the reports has all before it in it.
      const metric = seen.metrics.findLast((one) => one.name === name);
      assert.ok(metric !== undefined, `no metric ${name}`);
      return (metric.histogram ?? metric.sum)?.dataPoints ?? [];
    };
    const total = (name: string) =>
      points(name).reduce(
        (sum, point) => sum + Number("count" in point ? point.count : point.asInt ?? point.asDouble),
        0,
      );
    assert.equal(total("faas.invocations"), count(/^mayfly_invocations_total\{.*outcome="ok"/));
    assert.equal(total("faas.errors"), count(/^mayfly_invocations_total\{.*outcome="(?!ok)/));
    assert.equal(count(/^mayfly_invocations_total\{.*outcome="rejected"/), 2);
    assert.equal(total("faas.coldstarts"), count(/^mayfly_cold_starts_total/));
    assert.equal(total("faas.invoke_duration"), count(/^mayfly_invocation_duration_seconds_count/));
    assert.equal(total("mayfly.operation.duration"), count(/^mayfly_operation_duration_seconds_count/));
    assert.equal(count(/^mayfly_operation_duration_seconds_count\{operation="deploy",error=""/), 3);
    assert.equal(count(/^mayfly_operation_duration_seconds_count\{operation="pull",error="unavailable"/), 1);
    assert.equal(total("http.server.request.duration"), count(/^mayfly_http_request_duration_seconds_count/));
    assert.equal(count(/^mayfly_http_request_duration_seconds_count\{.*status="429"/), 1);
    for (const name of ["process.cpu.time", "process.memory.usage", "mayfly.running_invocations"]) {
      assert.ok(seen.metrics.some((metric) => metric.name === name), name);
    }
  });
});
