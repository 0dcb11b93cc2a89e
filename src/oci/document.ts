import type { ContainerRecord } from "./state_store.ts";
import { statusOf } from "./status.ts";

/** The newest version of the specification that is understood. */
export const ociVersion = "1.2.0";

/** The state of a container, as `state` prints it and `list` in rows. */
export interface StateDocument {
  readonly ociVersion: string;
  readonly id: string;
  readonly pid: number;
  readonly status: string;
  readonly bundle: string;
  readonly rootfs: string;
  readonly created: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly owner: string;
}

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#state */
export function stateDocument(record: ContainerRecord): StateDocument {
  const status = statusOf(record);
  const { id, bundle, root, created, spec } = record;
  return {
    ociVersion: spec.ociVersion,
    id,
    pid: status === "stopped" ? 0 : record.pid,
    status,
    bundle,
    rootfs: root,
    created,
    ...(Object.keys(spec.annotations ?? {}).length > 0 ? { annotations: spec.annotations ?? {} } : {}),
    owner: "root",
  };
}
