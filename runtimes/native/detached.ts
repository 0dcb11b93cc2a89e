import type { DetachedContainer, DetachedOptions, DetachedProcess, DetachedRuntime } from "../../src/core/detached.ts";
import { Failure } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { SpecProcess } from "../../src/core/spec.ts";
import type { ProcessExit } from "../../src/core/task.ts";
import type { Cgroups } from "../../src/linux/cgroup/mod.ts";
import type { Children } from "../../src/linux/children.ts";
import { setUndumpable } from "../../src/linux/dumpable.ts";
import { errno } from "../../src/linux/errno.ts";
import { ForkServer } from "../../src/linux/fork_server.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel, Spawned } from "../../src/linux/kernel.ts";
import { type Descriptors, Stages } from "../../src/linux/stages.ts";
import { streamNames } from "../../src/linux/stdio_pipes.ts";
import { UserNamespaces } from "../../src/linux/user_namespaces.ts";
import { Blueprints } from "./blueprints.ts";
import { sendTerminal } from "./console_socket.ts";
import { launchExec } from "./exec_launch.ts";
import { ExecPlans } from "./exec_plans.ts";
import { startFailure } from "./failure.ts";
import { Hooks } from "./hooks.ts";
import { launchValues, processValues } from "./launch_values.ts";
import { mappingDescriptors } from "./mount_mapping.ts";
import { namespacesOf } from "./namespaces.ts";
import type { Manner } from "./plan.ts";
import { prepareContainer } from "./prepare.ts";
import { Rights } from "./rights.ts";
import { makeGate, mostPreserved, openGate, recordedLaunch, recordLaunch, waitAtGate } from "./start_gate.ts";
import { noStreams, type StdioKinds, stdioKinds } from "./stdio.ts";

export interface NativeDetachedParts {
  readonly kernel: Kernel;
  readonly children: Children;
  readonly cgroups: Cgroups;
  /** An empty folder of this runtime's own, for the root filesystem's mount point. */
  readonly folder: string;
}

const unlimited = {};

/**
 * The native runtime for a command line: each command is a process of its own, and what is created outlives it.
 *
 * The process that `create` makes waits in the finished container for one byte on a fifo in the container's folder; there
 * is no death signal. `start` writes that byte, from another process, and learns on a second fifo how it went: the fifo
 * closes when the command is executed, else it tells the step that failed. An exec needs no such thing: it is one command.
 */
export class NativeDetached implements DetachedRuntime, Disposable {
  readonly #parts: NativeDetachedParts;
  readonly #stages: Stages;
  readonly #rights: Rights;

  constructor(parts: NativeDetachedParts) {
    const { kernel, children } = parts;
    this.#parts = parts;
    this.#stages = new Stages(kernel, children);
    this.#rights = new Rights(kernel);
    setUndumpable(kernel);
  }

  [Symbol.dispose](): void {
    this.#stages[Symbol.dispose]();
    this.#parts.children.close();
  }

  async create(container: DetachedContainer, options: DetachedOptions = {}): Promise<DetachedProcess> {
    const { kernel, cgroups, folder } = this.#parts;
    const { id, spec, root } = container;
    const terminal = hasTerminal(spec.process, options);
    using blueprints = this.#blueprints(options, folder);
    const resources = spec.linux.resources ?? unlimited;
    const rootfs: Rootfs = { mounts: [{ type: "bind", source: root, options: ["rbind", "rw"] }] };
    const stdio = this.#stdio(terminal);
    const { settings, staged: plan } = blueprints.get(spec, rootfs, stdio.kinds, cgroups.hierarchies(resources));
    using users = new UserNamespaces(this.#stages);
    using held = new DisposableStack();
    const mappings = await mappingDescriptors(users, settings.mounts, held);
    const descriptors = new Map([...stdio.descriptors, ...this.#preserved(options), ...mappings]);
    await using undo = new AsyncDisposableStack();
    const cgroup = cgroups.create(container.cgroupPath, resources);
    undo.defer(async () => {
      await cgroup.kill();
      await cgroup.remove();
    });
    const values = launchValues(spec, stdio.ends, cgroup);
    const hooks = this.#hooks(container);
    using gate = makeGate(kernel, container.folder);
    const stage = this.#stages.spawn(new Map([...descriptors, ...gate.descriptors]));
    undo.defer(async () => {
      await stage.abandon();
      // The end of a container's life, however short that was.
      await hooks.try("poststop", stage.process);
    });
    const master = await prepareContainer(kernel, stage, { id, spec, plan, values, hooks });
    const kept = master === undefined ? undefined : this.#hand(master, options);
    if (kept !== undefined) undo.defer(() => void kernel.attempt("close", kept));
    const start = [...waitAtGate(), ...plan.start];
    recordLaunch(container.folder, { pid: stage.process.pid, steps: start, starts: stage.starts(start, values) });
    // It lets go of this process when it begins to wait.
    await stage.execute(start, values);
    const made = this.#process(stage.release(), kept);
    undo.move();
    return made;
  }

  async start(container: DetachedContainer): Promise<void> {
    const { id, spec, folder } = container;
    const { kernel } = this.#parts;
    const hooks = this.#hooks(container);
    if (hooks.has("startContainer")) {
      const { pid } = recordedLaunch(folder);
      const pidfd = kernel.call("pidfd_open", pid, 0);
      try {
        await hooks.run("startContainer", { pid, pidfd });
      } catch (error) {
        kernel.attempt("pidfd_send_signal", pidfd, f.SIGKILL, 0, 0);
        throw error;
      } finally {
        kernel.attempt("close", pidfd);
      }
    }
    await openGate(kernel, folder, (steps, error) => startFailure(id, spec, steps, error));
  }

  /** @throws what the first of them failed with; those behind it have run all the same. */
  async hooks(container: DetachedContainer, turn: "poststart" | "poststop", pid: number): Promise<void> {
    const [first] = await this.#hooks(container).try(turn, { pid });
    if (first !== undefined) throw first;
  }

  #hooks({ id, spec, bundle }: DetachedContainer): Hooks {
    return new Hooks({ stages: this.#stages, id, spec, bundle, namespaces: namespacesOf(spec) });
  }

  async exec(
    { id, spec, cgroupPath }: DetachedContainer,
    options: DetachedOptions & { readonly pid: number; readonly process: SpecProcess },
  ): Promise<DetachedProcess> {
    const { kernel, cgroups, folder } = this.#parts;
    const { pid, process } = options;
    const terminal = hasTerminal(process, options);
    using blueprints = this.#blueprints(options, folder);
    const cgroup = cgroups.open(cgroupPath);
    const stdio = this.#stdio(terminal);
    const hierarchies = [...cgroup.folders.keys()];
    const preserved = this.#preserved(options);
    const manner = mannerOf(options);
    const plan = new ExecPlans({ kernel, blueprints, spec, hierarchies, manner, preserved: preserved.size })
      .get(process, stdio.kinds);
    const container = kernel.attempt("pidfd_open", pid, 0);
    if (container < 0) {
      throw new Failure("failed_precondition", `cannot execute in container ${JSON.stringify(id)}: it does not run`);
    }
    let kept: number | undefined;
    try {
      await using forks = new ForkServer(this.#stages);
      const spawned = await launchExec(forks, {
        id,
        process,
        plan,
        values: processValues(process, cgroup),
        descriptors: new Map([...stdio.descriptors, ...preserved]),
        init: container,
        onTerminal: (master) => kept = this.#hand(master, options),
      });
      return this.#process(spawned, kept);
    } catch (error) {
      if (kept !== undefined) kernel.attempt("close", kept);
      throw error;
    } finally {
      kernel.attempt("close", container);
    }
  }

  #blueprints(options: DetachedOptions, folder: string): Blueprints {
    const { kernel } = this.#parts;
    return new Blueprints({ kernel, rights: this.#rights, folder, manner: mannerOf(options) });
  }

  /** This process's own standard streams; with a terminal the process makes its own. */
  #stdio(terminal: boolean) {
    const { kernel } = this.#parts;
    const own = streamNames.map((_, fd) => !terminal && kernel.attempt("fcntl", fd, f.F_GETFD, 0) >= 0 ? fd : false);
    const [stdin = false, stdout = false, stderr = false] = own;
    const kinds: StdioKinds = stdioKinds(kernel, terminal ? noStreams : { stdin, stdout, stderr });
    const descriptors: Descriptors = new Map(own.map((fd, index) => [index, fd === false ? null : fd]));
    const end = (fd: number | false) => fd === false ? undefined : fd;
    return { kinds, descriptors, ends: { stdin: end(stdin), stdout: end(stdout), stderr: end(stderr) } };
  }

  #preserved({ preserved = 0 }: DetachedOptions): Descriptors {
    if (preserved > mostPreserved) {
      throw new Failure("invalid_argument", `cannot keep ${preserved} descriptors: want ${mostPreserved} at most`);
    }
    const numbers = Array.from({ length: preserved }, (_, index) => index + 3);
    for (const fd of numbers) {
      if (this.#parts.kernel.attempt("fcntl", fd, f.F_GETFD, 0) === -errno.EBADF) {
        throw new Failure("invalid_argument", `cannot keep descriptor ${fd}: it is not open`);
      }
    }
    return new Map(numbers.map((fd) => [fd, fd]));
  }

  /** Sends a terminal's master to who asked for it. @returns it where nobody did. */
  #hand(master: number, { consoleSocket }: DetachedOptions): number | undefined {
    const { kernel } = this.#parts;
    if (consoleSocket === undefined) return master;
    try {
      sendTerminal(kernel, consoleSocket, master);
      return undefined;
    } finally {
      kernel.attempt("close", master);
    }
  }

  #process({ pid, pidfd }: Spawned, terminal: number | undefined): DetachedProcess {
    const { children } = this.#parts;
    return {
      pid,
      ...terminal === undefined ? {} : { terminal },
      async wait(): Promise<ProcessExit> {
        const { code, signal } = await children.wait(pidfd);
        return { code, signal, exitedAt: new Date() };
      },
    };
  }
}

function mannerOf({ pivot = true, keyring = true }: DetachedOptions): Manner {
  return { outlives: true, pivot, keyring };
}

/** Whether it has one. */
function hasTerminal({ terminal = false }: SpecProcess, { consoleSocket }: DetachedOptions): boolean {
  if (!terminal && consoleSocket !== undefined) {
    throw new Failure("invalid_argument", "cannot send a terminal to the console socket: process.terminal is not set");
  }
  return terminal;
}
