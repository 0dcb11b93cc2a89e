import type { FunctionRecord } from "../../core/function.ts";
import type { Invocation } from "../../core/invocation.ts";

const limitBytes = 4096;

/**
 * The end of what an invocation has written to stderr, between the lines that AWS Lambda puts around it, as base64.
 * @param version which one has run.
 */
export function logResult(record: FunctionRecord, version: string, invocation: Invocation): string {
  const { id, stderr = "", durationMs = 0, memoryPeakBytes = 0 } = invocation;
  const megabytes = (bytes: number) => Math.ceil(bytes / 1024 / 1024);
  const report = [
    `REPORT RequestId: ${id}`,
    `Duration: ${durationMs.toFixed(2)} ms`,
    `Billed Duration: ${Math.ceil(durationMs)} ms`,
    `Memory Size: ${megabytes(record.memoryBytes)} MB`,
    `Max Memory Used: ${megabytes(memoryPeakBytes)} MB`,
  ].join("\t");
  const lines = stderr === "" || stderr.endsWith("\n") ? stderr : `${stderr}\n`;
  const text = `START RequestId: ${id} Version: ${version}\n${lines}END RequestId: ${id}\n${report}\t\n`;
  const tail = new TextEncoder().encode(text).slice(-limitBytes);
  return btoa(String.fromCharCode(...tail));
}
