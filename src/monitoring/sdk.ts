/** The only file that loads the OpenTelemetry SDK, and only where there is somebody to send to: it costs about 0.3 s. */
import { context, diag, metrics, propagation, trace } from "@opentelemetry/api";
import { hostname } from "node:os";
import { version } from "../version.ts";

/** How long the end of the process waits for a collector that does not answer. */
const shutdownMs = 3000;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The SDK's part in a process: there is one, because the OpenTelemetry API is global. */
export interface Sdk {
  readonly traces: boolean;
  readonly metrics: boolean;
  /** Sends what is waiting, for three seconds at most, and ends. Never fails. */
  shutdown(): Promise<void>;
}

/**
 * Starts the SDK where the environment names an OTLP endpoint. It reads all else (`OTEL_EXPORTER_OTLP_PROTOCOL`,
 * `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_METRIC_EXPORT_INTERVAL`, …) from the environment itself.
 *
 * @returns undefined where nothing is to be sent.
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export async function startSdk(env: Environment): Promise<Sdk | undefined> {
  const sends = (signal: "TRACES" | "METRICS") =>
    Boolean(env["OTEL_EXPORTER_OTLP_ENDPOINT"] || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`]) &&
    env[`OTEL_${signal}_EXPORTER`] !== "none" && env["OTEL_SDK_DISABLED"]?.toLowerCase() !== "true";
  const [traces, measures] = [sends("TRACES"), sends("METRICS")];
  if (!traces && !measures) return undefined;

  const { startNodeSdk } = await import("@opentelemetry/sdk-node");
  const sdk = startNodeSdk({
    logLevel: env["OTEL_LOG_LEVEL"] ?? "warn",
    // The host detector starts a program to find the machine's id; what is needed is said here.
    resourceDetectors: [],
    resourceAttributes: {
      "service.name": env["OTEL_SERVICE_NAME"] || serviceName(env["OTEL_RESOURCE_ATTRIBUTES"]) || "mayfly",
      "service.version": version,
      "service.instance.id": crypto.randomUUID(),
      "host.name": hostname(),
    },
    logRecordProcessors: [],
    ...(traces ? {} : { spanProcessors: [] }),
    ...(measures ? {} : { metricReaders: [] }),
  });
  return {
    traces,
    metrics: measures,
    async shutdown() {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, shutdownMs));
      // What could not be sent has been told by the SDK's own diagnostics.
      await Promise.race([sdk.shutdown().catch(() => {}), timeout]);
      clearTimeout(timer);
      for (const api of [trace, metrics, context, propagation, diag]) api.disable();
    },
  };
}

function serviceName(attributes = ""): string | undefined {
  return /(?:^|,)\s*service\.name\s*=\s*([^,]+)/.exec(attributes)?.[1]?.trim();
}
