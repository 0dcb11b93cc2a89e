import type { FunctionSettings } from "../core/function.ts";
import type { Rootfs } from "../core/mount.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Spec } from "../core/spec.ts";
import { type SpecTemplate, withRequest } from "../tasks/spec.ts";
import type { Views } from "./views.ts";

/** What keys of invocations' own snapshots begin with. */
export const snapshotPrefix = "invocation/";

/** The smallest limit that a memory filesystem takes as one: 0 would be none. */
const leastScratchBytes = 64 * 1024;

export interface RecipeParts {
  readonly settings: FunctionSettings;
  readonly template: SpecTemplate;
  readonly runtime: Runtime;
  readonly snapshotter: Snapshotter;
  /** The image's top layer, committed in the snapshotter. */
  readonly chain: string;
  readonly views: Views;
  /** What its containers go on from. */
  readonly checkpoint: ({ readonly folder: string } & Disposable) | undefined;
  /** The files of its secrets. */
  readonly secrets: Disposable | undefined;
  /** The images that they see. */
  readonly volumes: AsyncDisposable;
}

/** Everything about a revision's containers that is the same for each of them, made once. */
export class Recipe {
  readonly settings: FunctionSettings;
  readonly runtime: Runtime;
  /** The environment that the image and the function set. */
  readonly env: ReadonlyMap<string, string>;
  readonly #parts: RecipeParts;
  /** Shared by all invocations; undefined where each has to have a snapshot of its own. */
  readonly #rootfs: Rootfs | undefined;
  #users = 1;

  /** Makes a recipe, and takes hold of the image's view where its snapshotter can share one. */
  static async make(parts: RecipeParts): Promise<Recipe> {
    if (!parts.snapshotter.scratch) return new Recipe(parts, undefined);
    const mounts = await parts.views.acquire(parts.snapshotter, parts.chain);
    const sizeBytes = Math.max(parts.settings.scratchBytes, leastScratchBytes);
    return new Recipe(parts, { mounts, scratch: { sizeBytes } });
  }

  private constructor(parts: RecipeParts, rootfs: Rootfs | undefined) {
    this.settings = parts.settings;
    this.runtime = parts.runtime;
    this.env = parts.template.env;
    this.#parts = parts;
    this.#rootfs = rootfs;
  }

  /** Holds the recipe for an invocation; `leave` ends it. */
  enter(): void {
    this.#users++;
  }

  /** Ends a hold: an invocation's, or the first one, which is the deployment's. The last one removes what it has. */
  async leave(): Promise<void> {
    if (--this.#users > 0) return;
    this.#parts.checkpoint?.[Symbol.dispose]();
    this.#parts.secrets?.[Symbol.dispose]();
    await this.#parts.volumes[Symbol.asyncDispose]();
    if (this.#rootfs === undefined) return;
    await this.#parts.views.release(this.#parts.snapshotter, this.#parts.chain);
  }

  /** The OCI configuration of one container. */
  spec(id: string, env: Readonly<Record<string, string>>): Spec {
    return withRequest(this.#parts.template, { id, env });
  }

  /** The environment of one container's process. */
  environment(id: string, env: Readonly<Record<string, string>>): readonly string[] {
    return this.spec(id, env).process.env ?? [];
  }

  /** How much may be written to the root of one; undefined where that is on the machine's disk. */
  get scratchBytes(): number | undefined {
    return this.#rootfs?.scratch?.sizeBytes;
  }

  /** The command that containers run. */
  get args(): readonly string[] {
    return this.#parts.template.spec.process.args ?? [];
  }

  /** The folder of the checkpoint that containers go on from, if they do. */
  get checkpoint(): string | undefined {
    return this.#parts.checkpoint?.folder;
  }

  /** The root of one container. What `release` undoes is none of the shared view. */
  rootfs(id: string): RootfsHold | Promise<RootfsHold> {
    if (this.#rootfs !== undefined) return { rootfs: this.#rootfs, release: nothing };
    return this.#prepare(snapshotPrefix + id);
  }

  async #prepare(key: string): Promise<RootfsHold> {
    const { snapshotter, chain } = this.#parts;
    const mounts = await snapshotter.prepare(key, chain);
    return { rootfs: { mounts }, release: () => snapshotter.remove(key) };
  }
}

export interface RootfsHold {
  readonly rootfs: Rootfs;
  release(): Promise<void>;
}

const nothing = () => Promise.resolve();
