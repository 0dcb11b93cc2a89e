import type { InvocationMeasure } from "../../src/core/monitor.ts";

/** A measured invocation, of which a test says only what it is about. */
export function measure(part: Partial<InvocationMeasure>): InvocationMeasure {
  return {
    namespace: "default",
    function: "hello",
    outcome: "ok",
    durationMs: 1,
    startMs: undefined,
    start: "cold",
    cpuMicros: undefined,
    memoryPeakBytes: undefined,
    ioReadBytes: undefined,
    ioWriteBytes: undefined,
    networkReceivedBytes: undefined,
    networkSentBytes: undefined,
    ...part,
  };
}
