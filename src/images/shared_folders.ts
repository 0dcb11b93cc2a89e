import { rmSync } from "node:fs";
import type { Digest } from "../core/digest.ts";

/** A folder on disk, until it is disposed of. */
export interface OpenFolder extends Disposable {
  readonly folder: string;
}

/** Folders made of content: each once for all who want it, and removed behind the last of them. */
export class SharedFolders {
  readonly #open = new Map<Digest, { readonly ready: Promise<string>; users: number }>();

  /** @param make makes the folder, where nobody has it open. @throws what that throws. */
  async open(digest: Digest, make: () => Promise<string>): Promise<OpenFolder> {
    const opened = this.#open.get(digest) ?? { ready: make(), users: 0 };
    this.#open.set(digest, opened);
    opened.users++;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      if (--opened.users > 0) return;
      this.#open.delete(digest);
      // One that could not be made has left nothing.
      opened.ready.then((folder) => rmSync(folder, { recursive: true, force: true }), () => {});
    };
    try {
      return { folder: await opened.ready, [Symbol.dispose]: release };
    } catch (error) {
      release();
      throw error;
    }
  }
}
