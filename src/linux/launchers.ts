import { Failure } from "../core/errors.ts";
import type { Arena } from "./arena.ts";
import * as f from "./flags.ts";
import { frame } from "./frame.ts";
import type { Kernel } from "./kernel.ts";
import { ShortWaits } from "./short_waits.ts";
import { cloneArgs, context, launcher } from "./stub/layout.ts";
import { enlarge } from "./template.ts";

/** How many children are on their way at once: more than there are processors would only get in each other's way. */
const most = Math.min(Math.max(navigator.hardwareConcurrency, 2), 8);

/** A thread of the stub's. */
interface Launcher {
  readonly address: number;
  readonly view: DataView;
}

/**
 * Threads that make children while this one goes on. They run the stub's machine code and nothing else, and live as long as
 * this process: a child that dies with its parent dies with the thread that has made it.
 */
export class Launchers {
  readonly #kernel: Kernel;
  readonly #enter: (address: number) => number;
  readonly #waits: ShortWaits;
  readonly #idle: Launcher[] = [];
  readonly #waiting: ((launcher: Launcher) => void)[] = [];
  #count = 0;
  /** Children that are on their way, and that are to be. */
  #underway = 0;

  /** @param enter calls the stub with the address of a context. */
  constructor(kernel: Kernel, enter: (address: number) => number) {
    this.#kernel = kernel;
    this.#enter = enter;
    this.#waits = new ShortWaits(kernel);
  }

  /**
   * Has a child made that is laid out in an arena. Descriptors that its program uses stay open meanwhile.
   * @returns what clone3(2) has, when the child has executed something or ended.
   */
  async launch(arena: Arena): Promise<number> {
    arena.word(frame.context + context.error, 0);
    this.#underway++;
    try {
      // Where this thread has nothing else to do, it may as well sleep itself: that is the shortest way.
      const alone = this.#underway === 1 && await this.#waits.idle() && this.#underway === 1;
      return alone ? this.#enter(arena.address(frame.context)) : await this.#byAnother(arena);
    } finally {
      this.#underway--;
    }
  }

  async #byAnother(arena: Arena): Promise<number> {
    const { address, view } = this.#idle.pop() ?? this.#another() ?? await new Promise<Launcher>((resolve) => {
      this.#waiting.push(resolve);
    });
    const kernel = this.#kernel;
    const done = frame.context + context.done;
    arena.int32(done, 0);
    view.setBigUint64(launcher.context, BigInt(arena.address(frame.context)), true);
    view.setInt32(launcher.state, 1, true);
    kernel.attempt("futex", address + launcher.state, f.FUTEX_WAKE, 1, 0, 0, 0);
    try {
      await this.#waits.until(
        () => arena.readInt32(done) === 1,
        (time) => kernel.attempt("futex", arena.address(done), f.FUTEX_WAIT, 0, time, 0, 0),
      );
      return arena.read(frame.context + context.child);
    } finally {
      const own = { address, view };
      const next = this.#waiting.shift();
      if (next === undefined) this.#idle.push(own);
      else next(own);
    }
  }

  /** Makes one more, where there is room for it. @throws resource_exhausted where the kernel has none for the first one. */
  #another(): Launcher | undefined {
    if (this.#count >= most) return undefined;
    const { address, bytes } = this.#kernel.buffer(launcher.size);
    const arena = enlarge(this.#kernel.host, undefined);
    const flags = f.CLONE_VM | f.CLONE_FS | f.CLONE_FILES | f.CLONE_SIGHAND | f.CLONE_THREAD | f.CLONE_SYSVSEM;
    arena.int32(frame.clone + cloneArgs.flags, flags);
    arena.pointer(frame.context + context.clone, frame.clone);
    arena.word(frame.context + context.launcher, address);
    const result = this.#enter(arena.address(frame.context));
    if (result > 0) {
      this.#count++;
      return { address, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
    }
    arena.memory.release();
    if (this.#count > 0) return undefined;
    throw new Failure("resource_exhausted", "cannot make a thread that makes containers: the machine has none left", {
      syscall: "clone3",
    });
  }
}
