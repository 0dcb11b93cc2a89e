import type { Spec } from "../../src/core/spec.ts";
import { type Identity, identityOf } from "./identity.ts";
import { checkHostName } from "./host_name.ts";
import { type ContainerMount, mountsOf } from "./mounts.ts";
import { type Namespaces, namespacesOf } from "./namespaces.ts";
import { type Rlimit, rlimitsOf } from "./rlimits.ts";
import { type UserMaps, userMapsOf } from "./user_namespace.ts";
import { checkSysctls } from "./sysctl.ts";

/** A spec, read and found possible. */
export interface Settings {
  readonly namespaces: Namespaces;
  readonly identity: Identity;
  readonly rlimits: readonly Rlimit[];
  readonly mounts: readonly ContainerMount[];
  /** Undefined where the container has the host's users. */
  readonly maps: UserMaps | undefined;
}

/**
 * Reads a spec. What cannot be met is refused here, before anything is made.
 * @throws invalid_argument for what contradicts itself; unimplemented for what this runtime cannot do.
 */
export function settingsOf(spec: Spec): Settings {
  const namespaces = namespacesOf(spec);
  checkSysctls(spec, namespaces);
  checkHostName(spec, namespaces);
  const identity = identityOf(spec.process);
  return {
    namespaces,
    identity,
    rlimits: rlimitsOf(spec.process),
    mounts: mountsOf(spec, namespaces),
    maps: userMapsOf(spec, namespaces, identity),
  };
}
