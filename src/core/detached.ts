import type { Spec, SpecProcess } from "./spec.ts";
import type { ProcessExit } from "./task.ts";

/**
 * A runtime whose containers outlive the process that made them, as the OCI runtime specification has it: what one command
 * creates, another starts. Nothing of a container is in memory; its folder and these values find it again.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#lifecycle
 */
export interface DetachedRuntime {
  /**
   * Makes the container's process, which waits for `start`. It has this process's standard streams, unless it has a
   * terminal, and outlives this process.
   * @throws as `Runtime.create`; nothing is left then.
   */
  create(container: DetachedContainer, options: DetachedOptions): Promise<DetachedProcess>;
  /** Executes the command of a container that was created. @throws as `Task.start`; the container has ended then. */
  start(container: DetachedContainer): Promise<void>;
  /** Executes one more process in a container that runs. @param pid the container's own. @throws as `Executes.exec`. */
  exec(
    container: DetachedContainer,
    options: DetachedOptions & { readonly pid: number; readonly process: SpecProcess },
  ): Promise<DetachedProcess>;
  /** Runs the hooks of a turn that is not a launch's. */
  hooks(container: DetachedContainer, turn: "poststart" | "poststop", pid: number): Promise<void>;
}

/** What has to be known of a container to find it again. */
export interface DetachedContainer {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  /** The root filesystem on this machine. */
  readonly root: string;
  /** The container's own folder, where commands meet. */
  readonly folder: string;
  readonly cgroupPath: string;
}

export interface DetachedOptions {
  /** A Unix socket that is sent the terminal's master. Without one the master comes with the process. */
  readonly consoleSocket?: string;
  /** How many descriptors behind the standard streams the process keeps. Default 0. */
  readonly preserved?: number;
  /** Whether the root is left by pivot_root(2). Default true. */
  readonly pivot?: boolean;
  /** Whether it gets a session keyring of its own. Default true. */
  readonly keyring?: boolean;
}

/** A process that was made, while the process that made it is there. */
export interface DetachedProcess {
  readonly pid: number;
  /** The descriptor of its terminal's master, where it has one that no socket was sent. The caller's. */
  readonly terminal?: number;
  /** Resolves when it has ended. */
  wait(): Promise<ProcessExit>;
}
