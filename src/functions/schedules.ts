import { rootCaller } from "../core/access.ts";
import type { Events } from "../core/event.ts";
import type { DeployedFunction, FunctionRecord, FunctionStore } from "../core/function.ts";
import type { Monitor } from "../core/monitor.ts";
import type { ScheduleStore } from "../core/schedule.ts";
import type { Calls } from "./calls.ts";
import { mainRevision } from "./known.ts";
import { type Schedule, Timetable } from "./timetable.ts";

export interface SchedulesParts {
  readonly store: FunctionStore;
  readonly marks: ScheduleStore;
  readonly calls: Calls;
  readonly events: Events;
  readonly monitor: Monitor;
  readonly onError: (error: unknown, what: string) => void;
}

/** How long the clock is not looked at, at the most: timers do not notice when it is set. */
const longestRestMs = 10_000;

/** One schedule of one function. */
interface Entry {
  record: FunctionRecord;
  schedule: Schedule;
  readonly key: string;
  readonly timetable: Timetable;
  /** The call that it has made last. */
  last: string | undefined;
  busy: boolean;
  /** It failed: it is not tried again before, in epoch milliseconds. */
  restUntil: number;
}

/**
 * Calls functions by the clock. What it calls is a call as any other: it is tried again where it fails. What falls into a time
 * when no daemon runs, or which the clock has jumped over, is made up for as the schedule's `missed` says.
 */
export class Schedules implements Disposable {
  readonly #parts: SchedulesParts;
  readonly #entries = new Map<string, readonly Entry[]>();
  /** What is being read of a function, so that the newest is taken last. */
  readonly #reading = new Map<string, Promise<void>>();
  readonly #unsubscribe: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(parts: SchedulesParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.events.subscribe("/functions/", ({ namespace, data: { name } }) => {
      if (typeof name === "string") void this.#take(namespace, name, () => parts.store.get(namespace, name));
    });
  }

  /** Takes up those that are deployed. */
  async start(): Promise<void> {
    for await (const record of this.#parts.store.all()) {
      await this.#take(record.namespace, record.name, () => Promise.resolve(record));
    }
  }

  #take(namespace: string, name: string, read: () => Promise<DeployedFunction | undefined>): Promise<void> {
    const key = `${namespace}/${name}`;
    const taking = (this.#reading.get(key) ?? Promise.resolve()).then(async () => {
      try {
        await this.#set(namespace, name, await read());
      } catch (error) {
        this.#parts.onError(error, `cannot read the schedules of function ${key}`);
      }
    }).finally(() => {
      if (this.#reading.get(key) === taking) this.#reading.delete(key);
    });
    this.#reading.set(key, taking);
    return taking;
  }

  /** The schedules of a function are those of the revision with the most traffic. */
  async #set(namespace: string, name: string, deployed: DeployedFunction | undefined): Promise<void> {
    const { store, marks } = this.#parts;
    const key = `${namespace}/${name}`;
    const before = this.#entries.get(key) ?? [];
    const record = deployed && await mainRevision(store, deployed);
    if (deployed === undefined || record === undefined || record.schedules.length === 0) {
      this.#entries.delete(key);
      if (record === undefined || before.length > 0) await marks.keep(namespace, name, []);
      return;
    }
    const now = Date.now();
    const keys = keysOf(record.schedules);
    if (before.some((entry) => !keys.includes(entry.key))) await marks.keep(namespace, name, keys);
    const known = await marks.marks(namespace, name);
    const entries: Entry[] = [];
    for (const [index, schedule] of record.schedules.entries()) {
      const entryKey = keys[index] ?? "";
      const mark = schedule.missed === "skip" ? undefined : known.get(entryKey);
      // Marks of a function of this name that was there before are not of this one.
      const from = mark === undefined ? now : Math.max(mark.getTime(), deployed.createdAt.getTime());
      // One that is there goes on: a call may be under way.
      const entry = before.find(({ key }) => key === entryKey) ??
        {
          record,
          schedule,
          key: entryKey,
          timetable: new Timetable(schedule, from),
          last: undefined,
          busy: false,
          restUntil: 0,
        };
      Object.assign(entry, { record, schedule } satisfies Partial<Entry>);
      entries.push(entry);
      // From now on it can be told what was missed.
      if (schedule.missed !== "skip" && mark === undefined) {
        await marks.mark(namespace, name, entryKey, new Date(entry.timetable.from));
      }
    }
    if (this.#closed) return;
    this.#entries.set(key, entries);
    this.#look();
  }

  /** Makes the calls that are due, and comes back for the next. */
  #look(): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#entries.size === 0) return;
    const now = Date.now();
    let soonest = now + longestRestMs;
    for (const entries of this.#entries.values()) {
      for (const entry of entries) {
        if (entry.busy) continue;
        if (entry.restUntil > now && entry.restUntil <= now + longestRestMs) continue;
        const due = entry.timetable.due(now, entry.schedule);
        const { next } = entry.timetable;
        if (next === undefined) continue;
        if (next <= now) void this.#run(entry, due, now);
        else soonest = Math.min(soonest, next);
      }
    }
    this.#timer = setTimeout(() => this.#look(), Math.max(soonest - Date.now(), 1));
    this.#timer.unref?.();
  }

  async #run(entry: Entry, due: readonly number[], now: number): Promise<void> {
    const { record: { namespace, name }, schedule, timetable } = entry;
    const { marks, onError } = this.#parts;
    const keeps = schedule.missed !== "skip";
    entry.busy = true;
    try {
      for (const at of due) {
        if (this.#closed) return;
        const open = schedule.overlap === "skip" && entry.last !== undefined && await this.#isOpen(entry.last);
        if (!open) entry.last = (await this.#call(entry.record, schedule, new Date(at))).id;
        timetable.passed(at);
        if (keeps) await marks.mark(namespace, name, entry.key, new Date(at));
      }
      timetable.passed(now);
    } catch (error) {
      onError(error, `cannot call function ${namespace}/${name} by its schedule ${JSON.stringify(schedule.cron)}`);
      // Whoever does not want it late is not helped by trying again.
      if (!keeps) timetable.passed(now);
      entry.restUntil = Date.now() + longestRestMs;
    } finally {
      entry.busy = false;
      this.#look();
    }
  }

  async #isOpen(id: string): Promise<boolean> {
    // One that is not known any more has ended long ago.
    const call = await this.#parts.calls.get(id).catch(() => undefined);
    return call?.status === "queued" || call?.status === "running";
  }

  async #call({ namespace, name }: FunctionRecord, { cron, body }: Schedule, at: Date) {
    const span = this.#parts.monitor.span(`schedule ${name}`, {
      attributes: { "faas.name": name, "faas.trigger": "timer", "faas.cron": cron, "mayfly.namespace": namespace },
    });
    try {
      const accepted = await this.#parts.calls.accept(namespace, name, {
        method: "POST",
        scriptName: `/fn/${name}${namespace === "default" ? "" : `.${namespace}`}`,
        path: "",
        query: "",
        headers: new Headers({ "x-mayfly-schedule": cron, "x-mayfly-scheduled-at": at.toISOString() }),
        client: undefined,
        identify: () => Promise.resolve(rootCaller),
        accepted: true,
        body: body === "" ? null : new Blob([body]).stream(),
        span,
        signal: new AbortController().signal,
      });
      span.end();
      return accepted;
    } catch (error) {
      span.end(error);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#unsubscribe();
    clearTimeout(this.#timer);
    this.#entries.clear();
  }
}

/** What makes a schedule the same over deployments; where two are alike, their places tell them apart. */
function keysOf(schedules: readonly Schedule[]): readonly string[] {
  const seen = new Map<string, number>();
  return schedules.map(({ cron, timeZone }) => {
    const key = `${timeZone} ${cron}`;
    const count = (seen.get(key) ?? 0) + 1;
    seen.set(key, count);
    return count === 1 ? key : `${key} (${count})`;
  });
}
