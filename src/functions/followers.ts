import type { Events } from "../core/event.ts";
import type { FunctionRecord, FunctionStore } from "../core/function.ts";
import type { Images } from "../images/images.ts";
import type { Functions } from "./functions.ts";

export interface FollowersParts {
  readonly functions: Functions;
  readonly store: FunctionStore;
  readonly images: Images;
  readonly events: Events;
  /** Told of a function that cannot be rolled forward: it stays as it is until its image changes again. */
  readonly onError: (error: unknown, what: string) => void;
}

type Records = AsyncIterable<FunctionRecord> | Promise<readonly FunctionRecord[]>;

/** Rolls functions forward that follow their image: by what changes, and at the start by what has changed meanwhile. */
export class Followers implements AsyncDisposable {
  readonly #parts: FollowersParts;
  readonly #running = new Set<Promise<void>>();
  readonly #unsubscribe: () => void;
  #stopped = false;

  constructor(parts: FollowersParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.events.subscribe("/images/", ({ topic, namespace, data: { name } }) => {
      if (topic === "/images/delete") return;
      this.#run(parts.store.list(namespace), ({ image }) => parts.images.fullName(image) === name);
    });
    this.#run(parts.store.all(), () => true);
  }

  #run(records: Records, isMeant: (record: FunctionRecord) => boolean): void {
    const run = this.#roll(records, isMeant).catch((error) => {
      this.#parts.onError(error, "cannot roll functions forward");
    }).finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  async #roll(records: Records, isMeant: (record: FunctionRecord) => boolean): Promise<void> {
    for await (const record of await records) {
      if (this.#stopped || !record.follow || !isMeant(record)) continue;
      const { namespace, name, image } = record;
      try {
        await this.#parts.functions.rollouts.rollForward(namespace, name);
      } catch (error) {
        this.#parts.onError(error, `cannot roll function ${namespace}/${name} forward to ${image}`);
      }
    }
  }

  /** Finishes what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    await Promise.all(this.#running);
  }
}
