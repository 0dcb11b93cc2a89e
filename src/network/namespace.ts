import type { Spec } from "../core/spec.ts";

/** Returns the spec with a new network namespace, or without one. */
export function withNetworkNamespace(spec: Spec, own: boolean): Spec {
  const others = (spec.linux.namespaces ?? []).filter(({ type }) => type !== "network");
  return {
    ...spec,
    linux: { ...spec.linux, namespaces: own ? [...others, { type: "network" }] : others },
  };
}
