/**
 * A mayfly: it hatches, it works, it is gone. This file is the demo's input.
 */
interface Flight {
  readonly minutes: number;
  readonly dances: readonly string[];
}

enum Stage {
  Egg,
  Nymph,
  Subimago,
  Imago,
}

export class Mayfly {
  private stage: Stage = Stage.Egg;

  constructor(private readonly name: string) {}

  /** Three years under a stone, all for this. */
  hatch(): this {
    while (this.stage !== Stage.Imago) {
      this.stage = (this.stage + 1) as Stage;
    }
    return this;
  }

  /** It has no mouth, and it must hurry. */
  fly(): Flight {
    const dances = ["rise", "float", "rise again"].map((dance) => `${this.name} ${dance}s`);
    return { minutes: 5, dances };
  }
}

console.log(new Mayfly("ephemera").hatch().fly());
