import type { Container, ContainerChanges, ContainerStore, ListedContainer } from "../core/container.ts";
import { Failure } from "../core/errors.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { isKept, type Kept } from "./container_info.ts";

export interface KeptContainersParts {
  readonly store: ContainerStore;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
}

/** What is recorded of containers that live on, and the plugins that they were made with. */
export class KeptContainers {
  readonly #parts: KeptContainersParts;

  constructor(parts: KeptContainersParts) {
    this.#parts = parts;
  }

  /**
   * @param reference a name, an id, or the beginning of one.
   * @throws not_found; invalid_argument where a beginning of an id fits several.
   */
  async need(namespace: string, reference: string): Promise<Kept> {
    const found = (await this.#parts.store.find(namespace, reference)).filter(isKept);
    const [only] = found;
    const quoted = JSON.stringify(reference.slice(0, 140));
    if (only === undefined) {
      throw new Failure(
        "not_found",
        `no container ${quoted} is in namespace ${
          JSON.stringify(namespace)
        }, but for those of functions, which only their requests reach`,
      );
    }
    if (found.length === 1) return only;
    throw new Failure("invalid_argument", `several containers' ids begin with ${quoted}: give more of it`, {
      details: { field: "id" },
    });
  }

  async list(namespace: string): Promise<readonly Kept<ListedContainer>[]> {
    return (await this.#parts.store.list(namespace)).filter(isKept);
  }

  async record({ namespace, id }: Container, changes: ContainerChanges): Promise<Kept> {
    return await this.#parts.store.update(namespace, id, changes) as Kept;
  }

  /** @throws failed_precondition where that plugin does not run. */
  runtime(container: Container): Runtime {
    return plugin(this.#parts.runtimes, "runtime", container.runtime);
  }

  /** @throws failed_precondition where that plugin does not run. */
  snapshotter(container: Container): Snapshotter {
    return plugin(this.#parts.snapshotters, "snapshotter", container.snapshotter);
  }
}

function plugin<T>(plugins: ReadonlyMap<string, T>, kind: string, id: string): T {
  const found = plugins.get(id);
  if (found !== undefined) return found;
  throw new Failure(
    "failed_precondition",
    `the container was made with ${kind} ${JSON.stringify(id)}, which is not running: see the list of plugins`,
  );
}
