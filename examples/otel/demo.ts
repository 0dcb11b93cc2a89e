/**
 * A pipeline of three containers as one trace: a collector of forty lines takes what the daemon tells of it and draws the
 * tree. Needs root and npm's packages; everything that it makes is gone when it ends.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { makeImage } from "../minify/image.ts";
import { perform, Stage } from "../stage.ts";
import { Collector } from "./collector.ts";
import { tree } from "./tree.ts";

/** Functions, each with what it tells esbuild to do. The answer of one is the request of the next. */
const pipeline: Readonly<Record<string, readonly string[]>> = {
  "strip-types": ["--loader=ts"],
  "lower": ["--target=es2017"],
  "minify": ["--minify"],
};

await perform(async () => {
  await using collector = new Collector();
  Object.assign(process.env, {
    OTEL_EXPORTER_OTLP_ENDPOINT: await collector.listen(),
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_METRICS_EXPORTER: "none",
  });
  const traceId = randomBytes(16).toString("hex");
  const spanId = randomBytes(8).toString("hex");
  let code = readFileSync(new URL("../minify/mayfly.ts", import.meta.url), "utf8");
  console.log(`\n  ${code.length} bytes of TypeScript`);
  {
    // The daemon sends what it still has of the trace when it closes.
    await using stage = await Stage.open(await currentHost());
    const layout = join(stage.folder, "layout");
    makeImage(layout, "esbuild:latest");
    await stage.admin("POST", "/v1/images/import", { path: layout, name: "esbuild:latest" });
    for (const [name, options] of Object.entries(pipeline)) {
      await stage.admin("PUT", `/v1/functions/${name}`, { image: "esbuild:latest", command: ["/esbuild", ...options] });
    }
    for (const name of Object.keys(pipeline)) {
      const response = await fetch(`${stage.url}/fn/${name}`, {
        method: "POST",
        body: code,
        headers: { traceparent: `00-${traceId}-${spanId}-01` },
      });
      code = await response.text();
      if (!response.ok) throw new Error(`${name} answered ${response.status}: ${code}`);
      console.log(`  ${code.length} after ${name}`);
    }
  }
  console.log(`\n  trace ${traceId}: start and length of each span\n`);
  const spans = collector.spans.filter((span) => span.traceId === traceId);
  for (const line of tree(spans, spanId)) console.log(`  ${line}`);
  console.log();
});
