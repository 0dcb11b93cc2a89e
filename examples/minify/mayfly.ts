/**
 * A mayfly: it hatches, it dances, it is gone. This file is the demo's input.
 */
const stages = ["egg", "nymph", "subimago", "imago"] as const;

type Stage = (typeof stages)[number];

interface Flight {
  readonly minutes: number;
  readonly dances: readonly string[];
}

export class Mayfly {
  readonly name: string;
  #stage: Stage = "egg";

  constructor(name: string) {
    this.name = name;
  }

  /** Three years under a stone, all for this. */
  hatch(): this {
    for (const stage of stages) this.#stage = stage;
    return this;
  }

  /** It has no mouth, and it must hurry. */
  fly(): Flight {
    if (this.#stage !== "imago") throw new Error(`${this.name} has no wings yet`);
    const dances = ["rises", "floats", "rises again"].map((dance) => `${this.name} ${dance}`);
    return { minutes: 5, dances };
  }
}

console.log(new Mayfly("Ephemera").hatch().fly());
