import type { ImageConfig } from "../core/descriptor.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { IdRange } from "../core/id_range.ts";
import type { Network } from "../core/network.ts";
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
  "image" | "runtime" | "snapshotter" | "network" | "mounts" | "userns"
>;

/** Where images come from. */
export interface IngredientSource {
  /** The manifest that an image's name stands for on this machine; an image that is not here is pulled. */
  resolve(namespace: string, reference: string): Promise<string>;
  /** Brings together what containers of an image are made of, and unpacks it where that is not done. */
  gather(namespace: string, digest: string, settings: IngredientSettings): Promise<Ingredients>;
}
