import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FunctionMetrics } from "../../src/monitoring/function_metrics.ts";
import { OpenTelemetryMonitor } from "../../src/monitoring/monitor.ts";
import { Histogram, PrometheusText } from "../../src/monitoring/prometheus_text.ts";
import { measure } from "./measure.ts";

describe("PrometheusText", () => {
  it("escapes labels and help", () => {
    const text = new PrometheusText().metric("m", "gauge", "a\nb\\").sample("m", 1.5, { l: 'q"\\\n' });
    assert.equal(String(text), '# HELP m a\\nb\\\\\n# TYPE m gauge\nm{l="q\\"\\\\\\n"} 1.5\n');
  });

  it("writes a histogram's buckets as sums of those below", () => {
    const histogram = new Histogram([1, 5]);
    for (const value of [0.5, 1, 3, 100]) histogram.record(value);
    assert.equal(
      String(new PrometheusText().histogram("h", histogram, { f: "x" })),
      [
        'h_bucket{f="x",le="1"} 2',
        'h_bucket{f="x",le="5"} 3',
        'h_bucket{f="x",le="+Inf"} 4',
        'h_sum{f="x"} 104.5',
        'h_count{f="x"} 4',
        "",
      ].join("\n"),
    );
  });
});

describe("OpenTelemetryMonitor.prometheus()", () => {
  it("has every metric of the invocations so far, each line of the format", async () => {
    const monitor = await OpenTelemetryMonitor.start({ env: {}, host: "node 24" });
    monitor.invocation(measure({ durationMs: 30, startMs: 3, cpuMicros: 5000, memoryPeakBytes: 1000 }));
    monitor.invocation(measure({ outcome: "oom", durationMs: 70, memoryPeakBytes: 3000, networkSentBytes: 9 }));
    monitor.invocation(measure({ outcome: "rejected", durationMs: 0 }));
    const text = await monitor.prometheus();
    const lines = text.trimEnd().split("\n");
    for (const line of lines) {
      assert.match(
        line,
        /^(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? [-+0-9.eInf]+)$/,
      );
    }
    const labels = 'namespace="default",function="hello"';
    for (
      const line of [
        `mayfly_invocations_total{${labels},outcome="ok"} 1`,
        `mayfly_invocations_total{${labels},outcome="oom"} 1`,
        `mayfly_invocations_total{${labels},outcome="rejected"} 1`,
        `mayfly_invocation_duration_seconds_bucket{${labels},le="0.05"} 1`,
        `mayfly_invocation_duration_seconds_sum{${labels}} 0.1`,
        `mayfly_invocation_duration_seconds_count{${labels}} 2`,
        `mayfly_start_duration_seconds_count{${labels}} 1`,
        `mayfly_cold_starts_total{${labels}} 2`,
        `mayfly_container_cpu_seconds_total{${labels}} 0.005`,
        `mayfly_container_memory_peak_bytes{${labels}} 3000`,
        `mayfly_container_network_sent_bytes_total{${labels}} 9`,
      ]
    ) assert.ok(lines.includes(line), `${line} in\n${text}`);
    const rss = lines.find((line) => line.startsWith("process_resident_memory_bytes "));
    assert.ok(Number(rss?.split(" ")[1]) > 1e6);
  });

  it("reads gauges of others when asked, one of each name", async () => {
    const monitor = await OpenTelemetryMonitor.start({ env: {}, host: "node 24" });
    let running = 1;
    const gauge = { name: "mayfly_running_invocations", help: "Running invocations.", read: () => running };
    const remove = monitor.gauge(gauge);
    assert.throws(() => monitor.gauge(gauge), { code: "already_exists" });
    running = 2;
    assert.match(await monitor.prometheus(), /^mayfly_running_invocations 2$/m);
    remove();
    assert.doesNotMatch(await monitor.prometheus(), /running_invocations/);
  });
});

describe("FunctionMetrics", () => {
  it("puts functions past its limit under one label", () => {
    const metrics = new FunctionMetrics(2);
    for (const name of ["a", "b", "c", "d", "a"]) metrics.add(measure({ function: name }));
    const text = new PrometheusText();
    metrics.write(text);
    const counts = String(text).split("\n").filter((line) => line.startsWith("mayfly_invocations_total"));
    assert.deepEqual(counts.map((line) => /function="(\w+)".* (\d)/.exec(line)?.slice(1)), [["a", "2"], ["b", "1"], [
      "_other",
      "2",
    ]]);
  });
});
