import { native as nativeRuntime } from "../runtimes/native/mod.ts";
import { crun, runc, runsc, youki } from "../runtimes/oci/mod.ts";
import { btrfs } from "../snapshotters/btrfs/mod.ts";
import { erofs } from "../snapshotters/erofs/mod.ts";
import { native as nativeSnapshotter } from "../snapshotters/native/mod.ts";
import { overlay } from "../snapshotters/overlay/mod.ts";
import { content } from "./content/mod.ts";
import type { Plugin } from "./core/plugin.ts";
import { distribution } from "./distribution/mod.ts";
import { metadata, queue } from "./metadata/mod.ts";
import { monitor } from "./monitoring/mod.ts";
import { bridge } from "./network/bridge.ts";
import { cni } from "./network/cni.ts";
import { host } from "./network/host.ts";
import { none } from "./network/none.ts";

/** Every plugin that is built in. */
export const builtins: readonly Plugin[] = [
  metadata,
  queue,
  content,
  distribution,
  overlay,
  erofs,
  btrfs,
  nativeSnapshotter,
  nativeRuntime,
  crun,
  runc,
  youki,
  runsc,
  none,
  host,
  bridge,
  cni,
  monitor,
];
