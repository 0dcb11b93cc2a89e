import type { Kernel, Spawned, SpawnOptions } from "./kernel.ts";
import type { Argument, Program } from "./program.ts";
import type { Template } from "./template.ts";

/** How many are kept that no child is at. Each takes 64 KiB. */
const mostFree = 4;

/** One program, laid out as often as children are on their way by it at once. */
export class Templates implements Disposable {
  readonly program: Program;
  readonly holes: ReadonlySet<string>;
  readonly #kernel: Kernel;
  readonly #free: Template[];
  #disposed = false;

  /** @throws as `Kernel.compile`. */
  constructor(kernel: Kernel, program: Program) {
    this.program = program;
    this.#kernel = kernel;
    const first = kernel.compile(program);
    this.holes = new Set(first.encoded.holes.keys());
    this.#free = [first];
  }

  /** As `Kernel.spawnBeside`, with a value for each hole. May be disposed of meanwhile. */
  async spawn(values: Readonly<Record<string, Argument>>, options: SpawnOptions): Promise<Spawned> {
    const template = this.#free.pop() ?? this.#kernel.compile(this.program);
    try {
      return await this.#kernel.spawnBeside(template.fill(values), options);
    } finally {
      if (this.#disposed || this.#free.length >= mostFree) template.release();
      else this.#free.push(template);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const template of this.#free.splice(0)) template.release();
  }
}
