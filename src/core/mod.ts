/**
 * The contracts, for plugins that are not part of this program: `import type { Plugin } from "mayfly/plugin"`.
 *
 * A plugin can do with types alone, and then works wherever it lies: a failure is any error whose `code` is one of
 * `errorCodes`.
 */
export type * from "./content.ts";
export type * from "./descriptor.ts";
export type * from "./digest.ts";
export type * from "./distribution.ts";
export { codeOf, type ErrorCode, errorCodes, Failure, type FailureOptions, messageOf } from "./errors.ts";
export type * from "./host.ts";
export { type LogFields, type Logger, silent } from "./logger.ts";
export type * from "./labels.ts";
export type * from "./metadata.ts";
export type * from "./monitor.ts";
export type * from "./mount.ts";
export type * from "./network.ts";
export * from "./plugin.ts";
export { RecordedSnapshotter, type SnapshotFiles } from "./recorded_snapshotter.ts";
export type * from "./published_port.ts";
export type * from "./queue.ts";
export type * from "./reference.ts";
export type * from "./runtime.ts";
export type * from "./snapshotter.ts";
export type * from "./spec.ts";
export { abilities, can, demand } from "./task.ts";
export type * from "./task.ts";
