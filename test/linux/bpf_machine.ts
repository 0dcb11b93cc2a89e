import { bpf } from "../../src/linux/bpf.ts";

/** What a filter is asked about: `struct seccomp_data`. */
export interface SeccompData {
  readonly number: number;
  readonly arch: number;
  readonly args?: readonly bigint[];
}

/** Runs classic BPF as the kernel does, and refuses what the kernel's verifier would. */
export class BpfMachine {
  readonly #program: DataView;

  constructor(program: Uint8Array) {
    if (program.length === 0 || program.length % 8 !== 0) throw new Error(`${program.length} bytes are no BPF program`);
    this.#program = new DataView(program.buffer, program.byteOffset, program.byteLength);
  }

  get length(): number {
    return this.#program.byteLength / 8;
  }

  run({ number, arch, args = [] }: SeccompData): number {
    const words = new DataView(new ArrayBuffer(64));
    words.setUint32(0, number, true);
    words.setUint32(4, arch, true);
    for (const [index, value] of args.entries()) words.setBigUint64(16 + 8 * index, value, true);
    let accumulator = 0;
    for (let at = 0; at < this.length; at++) {
      const code = this.#program.getUint16(at * 8, true);
      const k = this.#program.getUint32(at * 8 + 4, true);
      const [jt, jf] = [this.#program.getUint8(at * 8 + 2), this.#program.getUint8(at * 8 + 3)];
      switch (code) {
        case bpf.load:
          accumulator = words.getUint32(k, true);
          break;
        case bpf.and:
          accumulator = (accumulator & k) >>> 0;
          break;
        case bpf.ret:
          return k;
        case bpf.jump | bpf.always:
          at += k;
          break;
        case bpf.jump | bpf.equal:
          at += accumulator === k ? jt : jf;
          break;
        case bpf.jump | bpf.greater:
          at += accumulator > k ? jt : jf;
          break;
        case bpf.jump | bpf.greaterOrEqual:
          at += accumulator >= k ? jt : jf;
          break;
        default:
          throw new Error(`instruction ${at} has the unknown code 0x${code.toString(16)}`);
      }
    }
    throw new Error("the program ran past its end");
  }
}
