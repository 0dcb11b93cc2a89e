import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { OpenTelemetryMonitor } from "../../src/monitoring/monitor.ts";
import { attribute, receiveOtlp } from "./otlp_receiver.ts";
import { measure } from "./measure.ts";

/** Starts a monitor under an environment, which the SDK reads from the process itself. */
function start(env: Record<string, string>): Promise<OpenTelemetryMonitor> {
  Object.assign(process.env, { OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" }, env);
  return OpenTelemetryMonitor.start({ env: process.env, host: "test" });
}

afterEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith("OTEL_")) delete process.env[name];
});

describe("OpenTelemetryMonitor with an endpoint", () => {
  it("sends a tree of spans under the trace from outside", async () => {
    await using receiver = await receiveOtlp();
    const monitor = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_METRICS_EXPORTER: "none" });
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const startMs = Date.now() - 500.25;
    const request = monitor.span("hello", {
      kind: "server",
      parent: { traceparent: `00-${traceId}-b7ad6b7169203331-01`, tracestate: "vendor=1" },
      attributes: { "faas.name": "hello", "faas.coldstart": true, left: undefined },
      startMs,
    });
    request.set({ "http.response.status_code": 504 });
    const phase = monitor.span("start", { parent: request, startMs: startMs + 1 });
    phase.end(undefined, startMs + 2);
    const context = request.context;
    request.end(Object.assign(new Error("took too long"), { code: "deadline_exceeded" }));
    await monitor.shutdown();

    assert.deepEqual(receiver.paths, ["/v1/traces"]);
    const [child, parent] = receiver.spans;
    assert.ok(child !== undefined && parent !== undefined);
    assert.deepEqual([parent.name, parent.kind, parent.traceId, parent.parentSpanId], [
      "hello",
      2,
      traceId,
      "b7ad6b7169203331",
    ]);
    assert.deepEqual([child.name, child.kind, child.traceId, child.parentSpanId], ["start", 1, traceId, parent.spanId]);
    assert.deepEqual(context, { traceparent: `00-${traceId}-${parent.spanId}-01`, tracestate: "vendor=1" });
    assert.equal(attribute(parent.attributes, "faas.name"), "hello");
    assert.equal(attribute(parent.attributes, "faas.coldstart"), true);
    assert.equal(attribute(parent.attributes, "error.type"), "deadline_exceeded");
    assert.deepEqual(parent.status, { code: 2, message: "took too long" });
    assert.ok(Math.abs(Number(parent.startTimeUnixNano) / 1e6 - startMs) < 0.01);
    assert.ok(Math.abs(Number(child.endTimeUnixNano) / 1e6 - startMs - 2) < 0.01);
  });

  it("says what sends: mayfly, its version and machine, or what the environment says", async () => {
    await using receiver = await receiveOtlp();
    for (const name of [undefined, "my-jobs"]) {
      const env: Record<string, string> = name === undefined ? {} : { OTEL_SERVICE_NAME: name };
      const monitor = await start({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/v1/traces`, ...env });
      monitor.span("one").end();
      await monitor.shutdown();
      const resource = receiver.resources.at(-1)!;
      assert.equal(attribute(resource, "service.name"), name ?? "mayfly");
      assert.ok(attribute(resource, "service.version"));
      assert.ok(attribute(resource, "host.name"));
    }
    assert.deepEqual(new Set(receiver.paths), new Set(["/v1/traces"]));
  });

  it("sends metrics of invocations", async () => {
    await using receiver = await receiveOtlp();
    const monitor = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
    monitor.invocation(measure({ durationMs: 30, startMs: 4, cpuMicros: 2_500_000, ioReadBytes: 10 }));
    monitor.invocation(measure({ outcome: "timeout", durationMs: 1000 }));
    monitor.invocation(measure({ outcome: "rejected", durationMs: 0 }));
    await monitor.shutdown();

    const byName = new Map(receiver.metrics.map((metric) => [metric.name, metric]));
    const sum = (name: string) =>
      byName.get(name)?.sum?.dataPoints.reduce((total, point) => total + Number(point.asInt ?? point.asDouble), 0);
    const [duration] = byName.get("faas.invoke_duration")?.histogram?.dataPoints ?? [];
    assert.equal(byName.get("faas.invoke_duration")?.unit, "s");
    assert.equal(Number(duration?.count), 2);
    assert.ok(Math.abs((duration?.sum ?? 0) - 1.03) < 1e-9);
    assert.equal(sum("faas.invocations"), 1);
    assert.equal(sum("faas.errors"), 2);
    assert.equal(sum("faas.timeouts"), 1);
    assert.equal(sum("faas.coldstarts"), 2);
    assert.equal(sum("container.cpu.time"), 2.5);
    assert.equal(sum("container.disk.io"), 10);
    assert.equal(receiver.spans.length, 0);
  });

  it("sends protobuf by default", async () => {
    await using receiver = await receiveOtlp();
    Object.assign(process.env, { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
    const monitor = await OpenTelemetryMonitor.start({ env: process.env, host: "test" });
    monitor.span("in-protobuf").end();
    monitor.invocation(measure({}));
    await monitor.shutdown();
    assert.deepEqual(new Set(receiver.paths), new Set(["/v1/traces", "/v1/metrics"]));
    const text = receiver.binary.map((body) => new TextDecoder("latin1").decode(body)).join();
    assert.match(text, /in-protobuf/);
    assert.match(text, /faas\.invocations/);
  });

  it("records no trace that the sampler leaves out, and hands its context on", async () => {
    await using receiver = await receiveOtlp();
    const monitor = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_METRICS_EXPORTER: "none" });
    const span = monitor.span("quiet", {
      parent: { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" },
    });
    assert.match(span.context?.traceparent ?? "", /^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-00$/);
    span.end();
    await monitor.shutdown();
    assert.deepEqual(receiver.spans, []);
  });
});

describe("OpenTelemetryMonitor with an endpoint that nobody answers", () => {
  it("shutdown() ends in time all the same", async () => {
    const monitor = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", OTEL_LOG_LEVEL: "none" });
    monitor.span("lost").end();
    monitor.invocation(measure({}));
    const begin = performance.now();
    await monitor.shutdown();
    assert.ok(performance.now() - begin < 4000);
  });
});

describe("OpenTelemetryMonitor without an endpoint", () => {
  it("span() gives one shared span, and hands on a valid trace from outside", async () => {
    const monitor = await start({});
    const span = monitor.span("a", { attributes: { b: 1 } });
    assert.equal(monitor.span("b"), span);
    assert.equal(span.context, undefined);
    const outside = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=1" };
    const passed = monitor.span("c", { parent: outside });
    assert.deepEqual(passed.context, outside);
    assert.equal(monitor.span("d", { parent: passed }), passed);
    assert.equal(monitor.span("e", { parent: { traceparent: "00-nonsense" } }), span);
    passed.end();
    await monitor.shutdown();
  });

  it("does not load the SDK where it is switched off", async () => {
    await using receiver = await receiveOtlp();
    const monitor = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_SDK_DISABLED: "true" });
    assert.equal(monitor.span("a").context, undefined);
    await monitor.shutdown();
    assert.deepEqual(receiver.paths, []);
  });
});
