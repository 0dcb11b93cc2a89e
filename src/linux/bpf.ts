/**
 * Assembles classic BPF, as seccomp runs it.
 *
 * Jumps go forward only and conditional ones reach 255 instructions, so a program is put together from its end: whatever is
 * jumped to is there already. A `Label` is a place counted from the end of the program.
 * @see https://www.kernel.org/doc/html/latest/networking/filter.html
 */
export class BpfAssembler {
  /** The program, last instruction first. */
  readonly #instructions: Instruction[] = [];
  readonly #returns = new Map<number, Label>();

  /** How many instructions there are. */
  get length(): number {
    return this.#instructions.length;
  }

  /** Puts an instruction before the others. Execution goes on at what was the first one. */
  prepend(code: number, k: number, jt = 0, jf = 0): Label {
    return this.#instructions.push({ code, k, jt, jf });
  }

  /** A place that ends the filter with a value. One instruction serves all that are near enough. */
  return(value: number): Label {
    const near = this.#returns.get(value);
    if (near !== undefined && this.#distance(near) <= reach) return near;
    const label = this.prepend(bpf.ret, value);
    this.#returns.set(value, label);
    return label;
  }

  /** Compares the accumulator with a constant and goes on at one of two places. */
  branch(comparison: number, k: number, yes: Label, no: Label): Label {
    if (yes === no) return yes;
    // A trampoline for one side moves the other side one further away, hence the margin.
    const jt = this.#near(yes);
    const jf = this.#near(no);
    return this.prepend(bpf.jump | comparison, k, this.#distance(jt), this.#distance(jf));
  }

  /** Goes on at a place before anything else runs: needed where that place is not the first instruction. */
  enter(label: Label): void {
    if (label !== this.length) this.prepend(bpf.jump | bpf.always, this.#distance(label));
  }

  /** The bytes of `struct sock_filter[]`, little endian. */
  assemble(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.length * 8);
    const view = new DataView(bytes.buffer);
    for (const [index, { code, jt, jf, k }] of this.#instructions.toReversed().entries()) {
      view.setUint16(index * 8, code, true);
      view.setUint8(index * 8 + 2, jt);
      view.setUint8(index * 8 + 3, jf);
      view.setUint32(index * 8 + 4, k, true);
    }
    return bytes;
  }

  #near(label: Label): Label {
    if (this.#distance(label) < reach) return label;
    return this.prepend(bpf.jump | bpf.always, this.#distance(label));
  }

  /** How many instructions an instruction that is put first now would have to skip. */
  #distance(label: Label): number {
    return this.length - label;
  }
}

export type Label = number;

interface Instruction {
  readonly code: number;
  readonly k: number;
  readonly jt: number;
  readonly jf: number;
}

const reach = 255;

/** Instruction codes. @see https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/bpf_common.h */
export const bpf = {
  /** A = 32-bit word of the data at byte k. */
  load: 0x20,
  /** A &= k. */
  and: 0x54,
  /** Ends the program with k. */
  ret: 0x06,
  jump: 0x05,
  always: 0x00,
  equal: 0x10,
  greater: 0x20,
  greaterOrEqual: 0x30,
} as const;
