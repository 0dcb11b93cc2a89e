import { Cron } from "croner";
import { rootCaller } from "../core/access.ts";
import type { Events } from "../core/event.ts";
import { Failure, messageOf } from "../core/errors.ts";
import type { DeployedFunction, FunctionRecord, FunctionSettings, FunctionStore } from "../core/function.ts";
import type { Monitor } from "../core/monitor.ts";
import type { Calls } from "./calls.ts";
import { mainRevision } from "./known.ts";

export interface SchedulesParts {
  readonly store: FunctionStore;
  readonly calls: Calls;
  readonly events: Events;
  readonly monitor: Monitor;
  readonly onError: (error: unknown, what: string) => void;
}

type Schedule = FunctionSettings["schedules"][number];

/** @throws invalid_argument for a pattern or a time zone that is none. */
export function checkSchedules(schedules: readonly Schedule[]): void {
  for (const [index, { cron, timeZone }] of schedules.entries()) {
    try {
      // A time zone is looked up when a time is asked for.
      new Cron(cron, { timezone: timeZone, paused: true }).nextRun();
    } catch (cause) {
      throw new Failure(
        "invalid_argument",
        `cannot schedule ${JSON.stringify(cron)} in ${JSON.stringify(timeZone)}: ${messageOf(cause)}: ` +
          "want five or six fields of cron, and a time zone as Europe/Berlin",
        { cause, details: { field: `schedules[${index}]` } },
      );
    }
  }
}

/**
 * Calls functions by the clock. What it calls is a call as any other: it is tried again where it fails. What falls into a time
 * when no daemon runs is not made up for.
 */
export class Schedules implements Disposable {
  readonly #parts: SchedulesParts;
  readonly #jobs = new Map<string, readonly Cron[]>();
  readonly #unsubscribe: () => void;
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

  /** The schedules of a function are those of the revision with the most traffic. */
  async #take(namespace: string, name: string, read: () => Promise<DeployedFunction | undefined>): Promise<void> {
    const { store, onError } = this.#parts;
    try {
      const record = await read();
      this.#set(namespace, name, record && await mainRevision(store, record));
    } catch (error) {
      onError(error, `cannot read the schedules of function ${namespace}/${name}`);
    }
  }

  #set(namespace: string, name: string, record: FunctionRecord | undefined): void {
    const key = `${namespace}/${name}`;
    for (const job of this.#jobs.get(key) ?? []) job.stop();
    this.#jobs.delete(key);
    if (record === undefined || record.schedules.length === 0 || this.#closed) return;
    const jobs = record.schedules.map((schedule) => {
      let last: string | undefined;
      return new Cron(schedule.cron, { timezone: schedule.timeZone, unref: true }, async () => {
        try {
          if (schedule.overlap === "skip" && last !== undefined && await this.#isOpen(last)) return;
          last = (await this.#call(record, schedule)).id;
        } catch (error) {
          this.#parts.onError(error, `cannot call function ${key} by its schedule ${JSON.stringify(schedule.cron)}`);
        }
      });
    });
    this.#jobs.set(key, jobs);
  }

  async #isOpen(id: string): Promise<boolean> {
    // One that is not known any more has ended long ago.
    const call = await this.#parts.calls.get(id).catch(() => undefined);
    return call?.status === "queued" || call?.status === "running";
  }

  async #call({ namespace, name }: FunctionRecord, { cron, body }: Schedule) {
    const span = this.#parts.monitor.span(`schedule ${name}`, {
      attributes: { "faas.name": name, "faas.trigger": "timer", "faas.cron": cron, "mayfly.namespace": namespace },
    });
    try {
      const accepted = await this.#parts.calls.accept(namespace, name, {
        method: "POST",
        scriptName: `/fn/${name}${namespace === "default" ? "" : `.${namespace}`}`,
        path: "",
        query: "",
        headers: new Headers({ "x-mayfly-schedule": cron }),
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
    for (const jobs of this.#jobs.values()) for (const job of jobs) job.stop();
    this.#jobs.clear();
  }
}
