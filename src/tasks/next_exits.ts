import type { ContainerRunState } from "../core/container.ts";
import { Failure } from "../core/errors.ts";

/** Who waits for the next end of a container that does not run. */
export class NextExits {
  readonly #waiting = new Map<string, PromiseWithResolvers<ContainerRunState>>();

  /** @param key as `keyOf` has it. @returns what rejects with not_found when the container is removed. */
  of(key: string): Promise<ContainerRunState> {
    let next = this.#waiting.get(key);
    if (next === undefined) {
      this.#waiting.set(key, next = Promise.withResolvers());
      // Who asked is told of a failure; nobody else waits.
      next.promise.catch(() => {});
    }
    return next.promise;
  }

  settle(key: string, state: ContainerRunState): void {
    this.#waiting.get(key)?.resolve(state);
    this.#waiting.delete(key);
  }

  removed(key: string, id: string): void {
    this.#waiting.get(key)?.reject(new Failure("not_found", `container ${JSON.stringify(id)} was removed`));
    this.#waiting.delete(key);
  }

  /** Tells all who wait that they wait in vain. */
  close(): void {
    for (const { reject } of this.#waiting.values()) {
      reject(new Failure("unavailable", "nobody knows how the container will end: the daemon is shutting down"));
    }
    this.#waiting.clear();
  }
}
