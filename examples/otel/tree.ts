import type { Span } from "./collector.ts";

const attributes = ["faas.invocation_id", "process.exit.code", "error.type"];

/** Draws the spans below a span as a tree, the earliest first, each with its start and its length in milliseconds. */
export function tree(spans: readonly Span[], parentId: string, from = firstStart(spans), indent = ""): string[] {
  const children = spans.filter((span) => span.parentSpanId === parentId).sort((a, b) => start(a) - start(b));
  return children.flatMap((span, i) => {
    const last = i === children.length - 1;
    const head = `${indent}${last ? "└─" : "├─"} ${span.name}`.padEnd(28);
    const length = (Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6).toFixed(2);
    const line = `${head} ${`+${(start(span) - from).toFixed(1)}`.padStart(8)} ${length.padStart(9)} ms  ${said(span)}`;
    return [line.trimEnd(), ...tree(spans, span.spanId, from, `${indent}${last ? "  " : "│ "} `)];
  });
}

/** Milliseconds, exact enough to be compared: an epoch in nanoseconds is more than a number can hold. */
function start(span: Span): number {
  return Number(BigInt(span.startTimeUnixNano) / 1000n) / 1000;
}

function firstStart(spans: readonly Span[]): number {
  return Math.min(...spans.map(start));
}

function said(span: Span): string {
  return span.attributes.filter(({ key }) => attributes.includes(key)).map(({ key, value }) =>
    `${key}=${Object.values(value)[0]}`
  ).join(" ");
}
