import { bytes, type Output } from "./output.ts";

/** One step of a pull, as the API streams it. */
export interface ProgressLine {
  readonly digest: string;
  readonly phase: string;
  readonly bytes: number;
  readonly total: number | undefined;
}

/**
 * Draws one bar a layer on a terminal; elsewhere a line when a layer's phase changes.
 * @returns the callback for each step; `done()` leaves the last state on the screen.
 */
export function progressBars(output: Output): { step(line: ProgressLine): void; done(): void } {
  const layers = new Map<string, ProgressLine>();
  let drawn = 0;
  let last = 0;
  const draw = () => {
    last = Date.now();
    let text = drawn > 0 ? `\x1b[${drawn}A` : "";
    for (const layer of layers.values()) text += `\x1b[2K${bar(layer, output.columns)}\n`;
    drawn = layers.size;
    output.draw(text);
  };
  return {
    step(line) {
      const before = layers.get(line.digest)?.phase;
      layers.set(line.digest, line);
      if (!output.live) {
        if (before !== line.phase) {
          output.note(`${short(line.digest)} ${line.phase} ${bytes(line.total ?? line.bytes)}`);
        }
      } else if (before !== line.phase || Date.now() - last > 50) draw();
    },
    done() {
      if (output.live) draw();
    },
  };
}

function bar(line: ProgressLine, columns: number): string {
  const size = `${bytes(line.bytes)}${line.total === undefined ? "" : ` / ${bytes(line.total)}`}`;
  const head = `${short(line.digest)} ${line.phase.padEnd(8)} `;
  const width = Math.max(0, Math.min(40, columns - head.length - size.length - 4));
  const settled = line.phase === "done" || line.phase === "exists";
  const filled = settled ? width : Math.floor(width * Math.min(1, line.bytes / Math.max(1, line.total ?? Infinity)));
  return `${head}${"█".repeat(filled)}${"░".repeat(width - filled)}  ${size}`;
}

function short(digest: string): string {
  return digest.replace(/^sha\d+:/, "").slice(0, 12);
}
