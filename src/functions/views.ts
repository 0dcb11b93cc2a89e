import { codeOf } from "../core/errors.ts";
import type { Mount } from "../core/mount.ts";
import type { Snapshotter } from "../core/snapshotter.ts";

/** What keys of views begin with, so that what an earlier process left is known as such. */
export const viewPrefix = "function-view/";

interface SharedView {
  readonly mounts: Promise<readonly Mount[]>;
  users: number;
}

/** One read-only view of each image's chain, shared by every function and invocation that runs on it. */
export class Views {
  readonly #views = new Map<string, SharedView>();
  readonly #removals = new Map<string, Promise<void>>();

  /** The mounts of a chain's view, held until `release`. @param chain the image's top layer in the snapshotter. */
  async acquire(snapshotter: Snapshotter, chain: string): Promise<readonly Mount[]> {
    const key = `${snapshotter.id}/${chain}`;
    let view = this.#views.get(key);
    if (view === undefined) {
      const removal = this.#removals.get(key);
      const mounts = removal === undefined
        ? open(snapshotter, chain)
        : removal.catch(() => {}).then(() => open(snapshotter, chain));
      view = { mounts, users: 0 };
      this.#views.set(key, view);
    }
    view.users++;
    try {
      return await view.mounts;
    } catch (error) {
      view.users--;
      if (this.#views.get(key) === view) this.#views.delete(key);
      throw error;
    }
  }

  /** Gives a hold back; the last one removes the view. */
  async release(snapshotter: Snapshotter, chain: string): Promise<void> {
    const key = `${snapshotter.id}/${chain}`;
    const view = this.#views.get(key);
    if (view === undefined || --view.users > 0) return;
    this.#views.delete(key);
    const removal = snapshotter.remove(viewPrefix + chain);
    this.#removals.set(key, removal);
    try {
      await removal;
    } finally {
      this.#removals.delete(key);
    }
  }
}

async function open(snapshotter: Snapshotter, chain: string): Promise<readonly Mount[]> {
  try {
    return await snapshotter.view(viewPrefix + chain, chain);
  } catch (error) {
    // Left by an earlier process: it is the same view.
    if (codeOf(error) === "already_exists") return await snapshotter.mounts(viewPrefix + chain);
    throw error;
  }
}
