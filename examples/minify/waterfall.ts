import type { Phase } from "../../src/core/invocation.ts";

/**
 * Draws phases as bars on a common time line.
 * @param width of the time line, in characters.
 */
export function waterfall(phases: readonly Phase[], width = 48): string[] {
  const end = Math.max(...phases.map((phase) => phase.startMs + phase.durationMs), 0.001);
  const names = Math.max(...phases.map((phase) => phase.name.length));
  return phases.map(({ name, startMs, durationMs }) => {
    const from = Math.min(width - 1, Math.round((startMs / end) * width));
    const length = Math.max(1, Math.min(width - from, Math.round((durationMs / end) * width)));
    const line = `${"·".repeat(from)}${"█".repeat(length)}${"·".repeat(width - from - length)}`;
    return `${name.padEnd(names)}  ${line}  ${durationMs.toFixed(2).padStart(8)} ms`;
  });
}
