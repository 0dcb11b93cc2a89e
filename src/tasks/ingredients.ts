import type { ContainerMount } from "../core/container_mount.ts";
import type { ImageConfig } from "../core/descriptor.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { IdRange } from "../core/id_range.ts";
import type { Network, NetworkSettings } from "../core/network.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Accounts } from "./accounts.ts";

/** What a container of an image is made of. */
export interface Ingredients {
  readonly config: ImageConfig;
  /** The image's top layer, committed in the snapshotter. */
  readonly chain: string;
  readonly accounts: Accounts;
  readonly runtime: Runtime;
  readonly snapshotter: Snapshotter;
  readonly network: Network;
  /** Whose users are its users; undefined for those of the host. */
  readonly ids: IdRange | undefined;
}

/** What says which ingredients are wanted; a plugin that is not named is the daemon's default. */
export type IngredientSettings = Pick<
  FunctionSettings,
  "image" | "runtime" | "snapshotter" | "mounts" | "userns" | "restore" | keyof NetworkSettings
>;

/** Images and artifacts whose files containers see, held as long as they may. */
export interface Volumes extends AsyncDisposable {
  /** Where each is on this machine, by the target of its mount. */
  readonly paths: ReadonlyMap<string, string>;
}

/** Where images come from. */
export interface IngredientSource {
  /**
   * The manifest that an image's name stands for on this machine; an image that is not here is pulled.
   * @param options.restore its index instead, which keeps its checkpoint. @throws permission_denied for one that is not trusted.
   */
  resolve(namespace: string, reference: string, options?: { readonly restore?: boolean }): Promise<string>;
  /** The same mounts, with the manifests that their images name now; those that are not here are pulled. */
  pin(namespace: string, mounts: readonly ContainerMount[]): Promise<ContainerMount[]>;
  /** Opens the images that are mounted, which are pinned. @throws unimplemented where they cannot be; what unpacking throws. */
  volumes(
    namespace: string,
    snapshotter: Snapshotter,
    settings: Pick<IngredientSettings, "mounts" | "userns" | "restore">,
  ): Promise<Volumes>;
  /** The files of the checkpoint that was resolved so. @throws not_found; failed_precondition for an image that is none. */
  checkpoint(digest: string): Promise<{ readonly folder: string } & Disposable>;
  /** Brings together what containers of an image are made of, and unpacks it where that is not done. */
  gather(namespace: string, digest: string, settings: IngredientSettings): Promise<Ingredients>;
}
