import type { Phase } from "../core/invocation.ts";

/** The steps of one invocation, one behind the other without a gap. */
export class Phases {
  /** Epoch milliseconds, with fraction, of the invocation's start. */
  readonly startedMs: number;
  readonly list: Phase[] = [];
  readonly #origin: number;
  #end = 0;

  constructor() {
    this.#origin = performance.now();
    this.startedMs = performance.timeOrigin + this.#origin;
  }

  /** Milliseconds since the invocation's start. */
  get elapsedMs(): number {
    return performance.now() - this.#origin;
  }

  /** Ends the step that has been under way since the one before it ended. */
  mark(name: string): void {
    const now = this.elapsedMs;
    this.list.push({ name, startMs: this.#end, durationMs: now - this.#end });
    this.#end = now;
  }

  /** @see https://www.w3.org/TR/server-timing/#the-server-timing-header-field */
  serverTiming(): string {
    let text = "";
    for (const { name, durationMs } of this.list) {
      text += `${text === "" ? "" : ", "}${name};dur=${Math.round(durationMs * 1000) / 1000}`;
    }
    return text;
  }
}
