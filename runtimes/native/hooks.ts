import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import { pipe } from "../../src/linux/pipe.ts";
import type { Operation } from "../../src/linux/program.ts";
import type { Stages } from "../../src/linux/stages.ts";
import { init } from "../../src/linux/stub/layout.ts";
import { enterContainer, initDescriptor } from "./exec_plan.ts";
import type { Namespaces } from "./namespaces.ts";
import { quote } from "./steps.ts";

/** In the order of a container's life. */
const turns = {
  prestart: "creating",
  createRuntime: "creating",
  createContainer: "creating",
  startContainer: "created",
  poststart: "running",
  poststop: "stopped",
} as const;
export type Turn = keyof typeof turns;

type Hook = NonNullable<NonNullable<NonNullable<Spec["hooks"]>[Turn]>>[number];

/** The turns whose hooks run inside the container. */
const inside: ReadonlySet<Turn> = new Set(["createContainer", "startContainer"]);

/** How much of what a hook says on its standard error is told. */
const tellBytes = 2048;

export interface HooksParts {
  readonly stages: Stages;
  readonly id: string;
  readonly spec: Spec;
  readonly bundle: string;
  readonly namespaces: Namespaces;
}

/** The container's init, as hooks are told of it. */
export interface HookedProcess {
  readonly pid: number;
  /** For hooks that run inside. */
  readonly pidfd?: number;
}

/** Whether a spec has hooks, of one of these turns. */
export function hasHooks({ hooks }: Spec, ...of: readonly Turn[]): boolean {
  return of.some((turn) => (hooks?.[turn]?.length ?? 0) > 0);
}

/** All turns. */
export const allTurns = Object.keys(turns) as readonly Turn[];

/** Those before the container's own program runs. */
export const creationTurns = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
] as const satisfies readonly Turn[];

/**
 * Runs the hooks of one container, each in a process with nothing of the daemon in it, and with the container's state on
 * its standard input.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-hooks
 */
export class Hooks {
  readonly #parts: HooksParts;

  constructor(parts: HooksParts) {
    this.#parts = parts;
  }

  /** Whether there are hooks of any of these turns. */
  has(...of: readonly Turn[]): boolean {
    return hasHooks(this.#parts.spec, ...of);
  }

  /**
   * Runs the hooks of a turn, one after another.
   * @throws failed_precondition for the first one that fails, or cannot be executed; deadline_exceeded for one that takes
   * longer than it may.
   */
  async run(turn: Turn, container: HookedProcess): Promise<void> {
    for (const [index, hook] of (this.#parts.spec.hooks?.[turn] ?? []).entries()) {
      await this.#run(hook, turn, `hook ${turn}[${index}] ${quote(hook.path)}`, container);
    }
  }

  /** The same where a failure changes nothing. @returns what failed; hooks behind one that does run all the same. */
  async try(turn: Turn, container: HookedProcess): Promise<readonly unknown[]> {
    const failures: unknown[] = [];
    for (const [index, hook] of (this.#parts.spec.hooks?.[turn] ?? []).entries()) {
      const what = `hook ${turn}[${index}] ${quote(hook.path)}`;
      await this.#run(hook, turn, what, container).catch((error) => failures.push(error));
    }
    return failures;
  }

  async #run(hook: Hook, turn: Turn, what: string, container: HookedProcess): Promise<void> {
    const { stages, namespaces, bundle } = this.#parts;
    const { kernel: { host }, kernel, children } = stages;
    using opened = new DisposableStack();
    const hold = (fd: number) => opened.adopt(fd, (each) => void kernel.attempt("close", each));
    await using undo = new AsyncDisposableStack();
    const [input, errors] = [pipe(kernel), pipe(kernel)];
    hold(input.read);
    hold(errors.write);
    const writer = host.writable(input.write).getWriter();
    undo.defer(() => writer.abort().catch(() => {}));
    const reader = host.readable(errors.read).getReader();
    const said = tail(reader).catch(() => "");
    // What it has started may hold its standard error open.
    undo.defer(() => reader.cancel().catch(() => {}));
    const descriptors = new Map<number, number | null>([[0, input.read], [1, null], [2, errors.write]]);
    const joins = inside.has(turn) && container.pidfd !== undefined;
    if (joins && container.pidfd !== undefined) descriptors.set(initDescriptor, container.pidfd);
    const stage = stages.spawn(descriptors);
    undo.defer(() => stage.abandon());
    opened.dispose();
    // Inside it goes on in a child, whom only an answer makes known.
    await stage.run([...enter(what, joins ? namespaces : undefined, bundle)]);
    await stage.execute([...execute(hook, what)]);
    const { pidfd } = stage.release();
    undo.defer(() => void kernel.attempt("close", pidfd));
    let late = false;
    const { timeout } = hook;
    const timer = timeout
      ? setTimeout(() => {
        late = true;
        kernel.attempt("pidfd_send_signal", pidfd, f.SIGKILL, 0, 0);
      }, timeout * 1000)
      : undefined;
    try {
      // A hook need not read what it is told.
      writer.write(new TextEncoder().encode(this.#state(turn, container.pid))).then(() => writer.close()).catch(
        () => {},
      );
      const { code, signal } = await children.wait(pidfd);
      if (late) throw new Failure("deadline_exceeded", `${what} did not end within ${timeout} s, and was killed`);
      if (code === 0) return;
      const how = signal === undefined ? `with status ${code}` : `by signal ${signal}`;
      const text = (await Promise.race([said, new Promise<string>((resolve) => setTimeout(resolve, 100, ""))])).trim();
      throw new Failure("failed_precondition", `${what} ended ${how}${text === "" ? "" : `: ${text}`}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/runtime.md#state */
  #state(turn: Turn, pid: number): string {
    const { id, spec: { ociVersion, annotations = {} }, bundle } = this.#parts;
    const status = turns[turn];
    return JSON.stringify({ ociVersion, id, status, ...status === "stopped" ? {} : { pid }, bundle, annotations });
  }
}

function* enter(what: string, namespaces: Namespaces | undefined, bundle: string): Generator<Operation> {
  const why = `execute ${what}`;
  yield { syscall: "fcntl", args: [init.control, f.F_SETFD, f.FD_CLOEXEC], why };
  yield { syscall: "prctl", args: [f.PR_SET_DUMPABLE, 0, 0, 0, 0], why };
  if (namespaces === undefined) yield { syscall: "chdir", args: [bundle], why, onError: "ignore" };
  else yield* enterContainer(namespaces);
  yield { syscall: "setsid", args: [], why };
}

function* execute({ path, args = [], env = [] }: Hook, what: string): Generator<Operation> {
  const argv = args.length === 0 ? [path] : args;
  yield { syscall: "execve", args: [path, [...argv, 0], [...env, 0]], why: `execute ${what}` };
}

async function tail(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text = (text + decoder.decode(part.value, { stream: true })).slice(-tellBytes);
  }
  return text;
}
