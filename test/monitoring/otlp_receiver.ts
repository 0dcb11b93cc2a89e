import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

interface Value {
  readonly stringValue?: string;
  readonly intValue?: number | string;
  readonly boolValue?: boolean;
}
type Attributes = readonly { readonly key: string; readonly value: Value }[];

export interface ReceivedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly traceState?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: Attributes;
  readonly status: { readonly code?: number; readonly message?: string };
}

export interface ReceivedMetric {
  readonly name: string;
  readonly unit: string;
  readonly sum?: { readonly dataPoints: readonly { readonly asDouble?: number; readonly asInt?: string | number }[] };
  readonly histogram?: { readonly dataPoints: readonly { readonly count: number | string; readonly sum: number }[] };
}

/** A collector of OTLP/HTTP, as small as can be. It reads JSON, and keeps protobuf as it is. */
export async function receiveOtlp() {
  const spans: ReceivedSpan[] = [];
  const metrics: ReceivedMetric[] = [];
  const resources: Attributes[] = [];
  const paths: string[] = [];
  const binary: Uint8Array[] = [];
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      assert.ok(request.url !== undefined);
      paths.push(request.url);
      if (request.headers["content-type"] === "application/x-protobuf") {
        binary.push(Buffer.concat(chunks));
        response.setHeader("content-type", "application/x-protobuf").end();
        return;
      }
      const body = JSON.parse(new TextDecoder().decode(Buffer.concat(chunks)));
      for (const one of body.resourceSpans ?? []) {
        resources.push(one.resource.attributes);
        for (const scope of one.scopeSpans) spans.push(...scope.spans);
      }
      for (const one of body.resourceMetrics ?? []) {
        resources.push(one.resource.attributes);
        for (const scope of one.scopeMetrics) metrics.push(...scope.metrics);
      }
      response.setHeader("content-type", "application/json").end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    metrics,
    resources,
    paths,
    binary,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function attribute(attributes: Attributes, key: string): string | number | boolean | undefined {
  const value = attributes.find((one) => one.key === key)?.value;
  return value?.stringValue ?? value?.intValue ?? value?.boolValue;
}
