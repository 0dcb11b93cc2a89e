import { open } from "node:fs/promises";

/**
 * Makes renames into one folder durable. Callers that come while a sync runs share the next one, so that many commits at
 * once cost two syncs and not one each.
 */
export class FolderSync {
  readonly #path: string;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Resolves when everything that was renamed into the folder before this call is on disk. */
  sync(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      const now = syncFolder(this.#path);
      this.#running = now.catch(() => {});
      return now;
    });
    return this.#next;
  }
}

/** Writes a folder's entries to disk. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}
