import { Failure, messageOf } from "../core/errors.ts";
import { IdleTimer } from "../core/idle_timer.ts";
import type { StartKind } from "../core/monitor.ts";
import { noInstance } from "./failures.ts";
import { Instance, type InstanceParts } from "./instance.ts";
import type { Tail } from "./tail.ts";

/** How long a request waits in line, beside the time that a container may take to be ready. */
const lineMs = 10_000;
/** How many requests wait in line, at the most, beside those that run. */
export const lineLength = 256;
/** How long nothing is kept ready behind failures to start, at first and at last. */
const restMs = { first: 100, last: 30_000 } as const;

export interface InstancesParts extends InstanceParts {
  readonly onError: (error: unknown, what: string) => void;
}

/** A place in an instance, for one request. */
export interface Lease {
  readonly instance: Instance;
  /** `cold`: its container was made while the request waited. */
  readonly start: StartKind;
  /** Gives the place back. @param options.spent the instance takes no more requests, and ends with those that it has. */
  release(options?: { readonly spent?: boolean }): void;
}

type Place = Omit<Lease, "start">;

interface Waiter {
  /** Told what the instance that serves it writes, or why none does. */
  readonly log: Tail;
  readonly place: PromiseWithResolvers<Place>;
  /** How many instances had become ready when it came. */
  readonly readies: number;
}

/**
 * The containers of one revision that serve many requests: made as requests come and as many as are to be kept ready, each
 * with so many requests at once, ended when nothing was asked of them for a while, replaced when they die. Requests that
 * find no place wait in line, and those that came first go first.
 */
export class Instances {
  /** What the last one wrote that could not be started. */
  lastLog: string | undefined;
  readonly #parts: InstancesParts;
  readonly #ready = new Set<Instance>();
  readonly #starting = new Map<Instance, { readonly started: Promise<void>; readonly giveUp: AbortController }>();
  /** Those that end, until nothing is left of them. */
  readonly #ending = new Set<Promise<void>>();
  readonly #waiting: Waiter[] = [];
  readonly #idle = new Map<Instance, IdleTimer>();
  readonly #concurrency: number;
  readonly #drained = Promise.withResolvers<void>();
  readonly #killed = new AbortController();
  /** How many are kept ready. */
  #keep = 0;
  #retired: Promise<void> | undefined;
  #leases = 0;
  #readies = 0;
  #failures = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: InstancesParts) {
    this.#parts = parts;
    this.#concurrency = parts.protocol.concurrency(parts.record);
  }

  /** How many there are, those included that begin. */
  get count(): number {
    return this.#ready.size + this.#starting.size;
  }

  /** How many requests wait in line. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** How many can take requests. */
  get readyCount(): number {
    return this.#ready.size;
  }

  /** Makes those that are to be kept ready. @throws why the first one that fails does; the others are tried again. */
  async warm(count: number): Promise<void> {
    this.keep(count);
    // Who asks for them now is told how it goes, whatever has failed before.
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#keepReady();
    await Promise.all(Array.from(this.#starting.values(), ({ started }) => started));
  }

  /** Keeps so many ready: others that have nothing to do end as if nothing had been asked of them for long. */
  keep(count: number): void {
    const less = count < this.#keep;
    this.#keep = count;
    if (!less) return this.#keepReady();
    for (const instance of [...this.#ready]) {
      if (instance.used === 0 && this.#idle.get(instance)?.waiting !== true) this.#settle(instance);
    }
  }

  get #least(): number {
    return Math.min(this.#keep, this.#parts.record.maxInstances);
  }

  /**
   * Takes a place for a request, in line behind those that came before.
   * @param options.log told what the instance writes while it has the request, and why none could be had.
   * @throws why no instance could be started; unavailable where none has a place in time; the signal's reason.
   */
  async acquire({ log, signal }: { readonly log: Tail; readonly signal: AbortSignal }): Promise<Lease> {
    signal.throwIfAborted();
    this.#killed.signal.throwIfAborted();
    const free = this.#waiting.length === 0 ? this.#free() : undefined;
    if (free !== undefined) return await awake(this.#lease(free, log), false);
    const taken = Promise.withResolvers<Place>();
    const waiter: Waiter = { log, place: taken, readies: this.#readies };
    this.#waiting.push(waiter);
    const limitMs = this.#parts.record.startTimeoutMs + lineMs;
    const leave = (reason: unknown) => {
      const at = this.#waiting.indexOf(waiter);
      if (at >= 0) this.#waiting.splice(at, 1);
      taken.reject(reason);
    };
    const onAbort = () => leave(signal.reason);
    signal.addEventListener("abort", onAbort);
    const timer = setTimeout(() => leave(noInstance(limitMs, this.#parts.record.maxInstances)), limitMs);
    try {
      this.#match();
      const place = await taken.promise;
      return await awake(place, place.instance.readyAs > waiter.readies);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** The fullest that has a place: what is not needed can end. */
  #free(): Instance | undefined {
    let best: Instance | undefined;
    for (const instance of this.#ready) {
      if (!instance.closing && instance.used < this.#concurrency && instance.used >= (best?.used ?? 0)) best = instance;
    }
    return best;
  }

  #lease(instance: Instance, log: Tail): Place {
    this.#idle.get(instance)?.stop();
    instance.used++;
    instance.listeners.add(log);
    this.#leases++;
    let released = false;
    const release: Place["release"] = ({ spent = false } = {}) => {
      if (released) return;
      released = true;
      // What an instance of one request alone has written may still be on its way.
      if (instance.server.spent !== true) instance.listeners.delete(log);
      instance.used--;
      this.#leases--;
      if (spent) instance.closing = true;
      this.#settle(instance);
    };
    return { instance, release };
  }

  /** Decides what becomes of an instance that has a place more than before. */
  #settle(instance: Instance): void {
    if (instance.used === 0 && this.#ready.has(instance)) {
      if (instance.closing || this.#retired !== undefined) this.#end(instance);
      else if (this.#waiting.length === 0) this.#rest(instance);
    }
    this.#match();
  }

  /** There is nothing for it to do. */
  #rest(instance: Instance): void {
    const { freeze, idleMs } = this.#parts.record;
    if (freeze) instance.freezeSoon();
    if (this.#ready.size <= this.#least) return;
    let timer = this.#idle.get(instance);
    if (timer === undefined) this.#idle.set(instance, timer = new IdleTimer(idleMs, () => this.#letGo(instance)));
    timer.begin();
  }

  /** Nothing was asked of it for so long. */
  #letGo(instance: Instance): void {
    if (instance.used === 0 && this.count > this.#least) this.#end(instance);
  }

  /** Gives places to those who wait, and begins as many instances as they want. */
  #match(): void {
    for (let free = this.#free(); free !== undefined; free = this.#free()) {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) break;
      waiter.place.resolve(this.#lease(free, waiter.log));
    }
    if (this.#retired !== undefined) {
      if (this.#leases === 0 && this.#waiting.length === 0) this.#drained.resolve();
    }
    if (this.#killed.signal.aborted) return;
    const wanted = Math.ceil(this.#waiting.length / this.#concurrency) - this.#starting.size;
    // Where starting them fails, those that are there go on alone for a while.
    const room = this.#pause !== undefined && this.count > 0 ? 0 : this.#parts.record.maxInstances - this.count;
    for (let i = 0; i < Math.min(wanted, room); i++) this.#start();
    this.#keepReady();
  }

  #keepReady(): void {
    if (this.#retired !== undefined || this.#pause !== undefined) return;
    while (this.count < this.#least) this.#start();
  }

  #start(): void {
    const instance = new Instance(this.#parts);
    const giveUp = new AbortController();
    if (this.#killed.signal.aborted) giveUp.abort(this.#killed.signal.reason);
    const started = this.#begin(instance, giveUp.signal);
    // Who waits is told by its place.
    started.catch(() => {});
    this.#starting.set(instance, { started, giveUp });
  }

  async #begin(instance: Instance, signal: AbortSignal): Promise<void> {
    try {
      await instance.start(signal);
      this.#failures = 0;
    } catch (error) {
      this.#starting.delete(instance);
      this.#failed(error, instance);
      throw error;
    }
    this.#starting.delete(instance);
    this.#ready.add(instance);
    instance.readyAs = ++this.#readies;
    instance.exited.then(() => {
      if (!this.#ready.has(instance)) return;
      instance.closing = true;
      this.#end(instance);
      this.#match();
    });
    this.#settle(instance);
  }

  #failed(error: unknown, instance: Instance): void {
    this.lastLog = instance.log.text();
    if (this.#ready.size === 0 && this.#starting.size === 0) {
      const log = instance.log.text();
      for (const waiter of this.#waiting.splice(0)) {
        if (log !== undefined) waiter.log.push(new TextEncoder().encode(log));
        waiter.place.reject(error);
      }
    }
    if (this.#retired === undefined) {
      const { name } = this.#parts.record;
      const log = instance.log.text();
      // Of others, the requests that wanted them tell.
      if (this.#least > 0) {
        const told = new Error(`${messageOf(error)}; the end of its log: ${log ?? "nothing"}`, { cause: error });
        this.#parts.onError(told, `cannot keep containers of function ${name} ready`);
      }
      clearTimeout(this.#pause);
      this.#pause = setTimeout(() => {
        this.#pause = undefined;
        this.#match();
      }, Math.min(restMs.first * 2 ** this.#failures++, restMs.last));
    }
    this.#match();
  }

  /** Ends an instance, in the background. */
  #end(instance: Instance): void {
    if (!this.#ready.delete(instance)) return;
    this.#idle.get(instance)?.end();
    this.#idle.delete(instance);
    const { record, protocol } = this.#parts;
    const { name } = record;
    const killed = this.#killed.signal.aborted;
    const ended = instance.end(killed ? 0 : protocol.stopGraceMs(record), { finish: !killed })
      .catch((error) => this.#parts.onError(error, `cannot remove container ${instance.id} of function ${name}`))
      .finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
    const kill = () => void instance.end(0, { finish: false }).catch(() => {});
    this.#killed.signal.addEventListener("abort", kill);
    ended.then(() => this.#killed.signal.removeEventListener("abort", kill));
  }

  /** Lets the requests that it has be answered, and ends all instances. Resolves when nothing is left of them. */
  retire(): Promise<void> {
    return this.#retired ??= this.#retire();
  }

  async #retire(): Promise<void> {
    await Promise.resolve();
    clearTimeout(this.#pause);
    for (const instance of [...this.#ready]) if (instance.used === 0 && this.#waiting.length === 0) this.#end(instance);
    this.#match();
    await this.#drained.promise;
    const starting = [...this.#starting.values()];
    // Nobody is left who would use them.
    for (const { giveUp } of starting) giveUp.abort();
    await Promise.allSettled(starting.map(({ started }) => started));
    for (const instance of [...this.#ready]) this.#end(instance);
    while (this.#ending.size > 0) await Promise.all(this.#ending);
  }

  /** Ends all instances at once; requests that they have fail. To be followed by `retire`. */
  kill(): void {
    this.#killed.abort(
      new Failure("unavailable", "the daemon is shutting down", { details: { retryAfterSeconds: 5 } }),
    );
    for (const waiter of this.#waiting.splice(0)) waiter.place.reject(this.#killed.signal.reason);
    for (const { giveUp } of this.#starting.values()) giveUp.abort(this.#killed.signal.reason);
    for (const instance of [...this.#ready]) this.#end(instance);
  }
}

/** A place whose instance runs. */
async function awake(place: Place, cold: boolean): Promise<Lease> {
  try {
    const thawed = await place.instance.thaw();
    return { ...place, start: cold ? "cold" : thawed ? "frozen" : "warm" };
  } catch (error) {
    place.release({ spent: true });
    throw error;
  }
}
