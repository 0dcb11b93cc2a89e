/** Where a command writes: results to stdout, everything else to stderr. */
export interface Output {
  /** Whether results are written as JSON. */
  readonly json: boolean;
  /** Whether stderr is a terminal that can redraw lines. */
  readonly live: boolean;
  readonly columns: number;
  /** A line of the result. */
  line(text: string): void;
  /** A line for the person. */
  note(text: string): void;
  /** Raw text to stderr, for redrawing. */
  draw(text: string): void;
  /** Raw bytes to stdout; resolves when they are taken. */
  bytes(chunk: Uint8Array): Promise<void>;
  /** Raw bytes to stderr; resolves when they are taken. */
  errorBytes(chunk: Uint8Array): Promise<void>;
}

/** Writes rows as a table, or as one JSON array where `--json` asks for it. */
export function table(
  output: Output,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  items: readonly unknown[],
): void {
  if (output.json) {
    output.line(JSON.stringify(items, undefined, 2));
    return;
  }
  const all = [head.map((title) => title.toUpperCase()), ...rows.map((row) => row.map(printable))];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  for (const row of all) output.line(row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("   ").trimEnd());
}

/** Replaces control characters, so that a name from outside cannot steer the terminal. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, "\u{fffd}");
}

/** `1536` → `1.5 KiB`. */
export function bytes(count: number | undefined | null): string {
  if (count === undefined || count === null) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `2026-01-01T00:00:00Z` → `3 minutes ago`. */
export function ago(when: string | Date, now: number = Date.now()): string {
  const seconds = Math.max(0, Math.round((now - new Date(when).getTime()) / 1000));
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]] as const) {
    const count = Math.floor(seconds / length);
    if (count >= 1) return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  }
  return `${seconds} second${seconds === 1 ? "" : "s"} ago`;
}
