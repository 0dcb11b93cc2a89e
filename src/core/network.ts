import type { Spec } from "./spec.ts";

/** A network plugin says how a container is connected, by changing its spec before the task is created. */
export interface Network {
  /** The plugin's id: `none`, `host`, … */
  readonly id: string;
  /** Returns the spec with this network's namespace and files in it. */
  apply(spec: Spec): Spec;
}
