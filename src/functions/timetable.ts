import { Cron } from "croner";
import { Failure, messageOf } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";

export type Schedule = FunctionSettings["schedules"][number];

/** How late a run may be and still count as on time: a busy machine, a clock that was set. */
const onTimeMs = 20_000;

/** The most runs that are made up for at once; of more, the newest. */
export const mostMissed = 100;

/**
 * How far a clock may be set back and still be taken for the same: what has run until then does not run once more. One that
 * is set back further was wrong before. As cron has it.
 * @see https://man7.org/linux/man-pages/man8/cron.8.html
 */
const smallStepMs = 3 * 3600_000;

/** @throws invalid_argument for a pattern or a time zone that is none, and what cannot be had together. */
export function checkSchedules(schedules: readonly Schedule[]): void {
  for (const [index, { cron, timeZone, missed, overlap }] of schedules.entries()) {
    const wrong = (why: string, cause?: unknown) =>
      new Failure(
        "invalid_argument",
        `cannot schedule ${JSON.stringify(cron)} in ${JSON.stringify(timeZone)}: ${why}`,
        {
          cause,
          details: { field: `schedules[${index}]` },
        },
      );
    try {
      // A time zone is looked up when a time is asked for.
      new Cron(cron, { timezone: timeZone, paused: true }).nextRun();
    } catch (cause) {
      const wanted = "want five or six fields of cron, and a time zone as Europe/Berlin";
      throw wrong(`${messageOf(cause)}: ${wanted}`, cause);
    }
    if (missed === "all" && overlap !== "queue") {
      throw wrong('missed "all" makes several calls at once, and overlap "skip" leaves all but one out: want "queue"');
    }
  }
}

/** Which runs of a schedule are due, whatever the clock does. All times are epoch milliseconds. */
export class Timetable {
  readonly #cron: Cron;
  /** All runs up to here are dealt with. */
  #from: number;
  #next: number | undefined;

  /** @param from runs after this are to be made. */
  constructor({ cron, timeZone }: Pick<Schedule, "cron" | "timeZone">, from: number) {
    this.#cron = new Cron(cron, { timezone: timeZone, paused: true });
    this.#from = from;
    this.#next = this.#after(from);
  }

  get from(): number {
    return this.#from;
  }

  /** When the next run is due; undefined for a schedule that has none. */
  get next(): number | undefined {
    return this.#next;
  }

  /** The runs that are to be made now, the oldest first, by the times that they are for. */
  due(now: number, { missed, missedWithinMs }: Pick<Schedule, "missed" | "missedWithinMs">): readonly number[] {
    if (now < this.#from - smallStepMs) this.passed(now);
    if (this.#next === undefined || this.#next > now) return [];
    const oldest = now - (missed === "skip" ? onTimeMs : Math.max(missedWithinMs, onTimeMs));
    return this.#cron.previousRuns(missed === "all" ? mostMissed : 1, new Date(now + 1))
      .map((at) => at.getTime())
      .filter((at) => at > this.#from && at >= oldest)
      .sort((a, b) => a - b);
  }

  /** All runs up to a time are made, or let go. */
  passed(at: number): void {
    this.#from = at;
    this.#next = this.#after(at);
  }

  #after(time: number): number | undefined {
    return this.#cron.nextRun(new Date(time))?.getTime();
  }
}
