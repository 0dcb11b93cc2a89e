import type { Host } from "../../src/core/host.ts";

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

/** `mov (%rdi),%rax; …; syscall; ret` over seven 64-bit words: the number and six arguments. */
const code = {
  x64: bytes("488b07488b7710488b57184c8b57204c8b47284c8b4f30488b7f080f05c3"),
  arm64: bytes("e90300aa280140f9200540f9210940f9220d40f9231140f9241540f9251940f9010000d4c0035fd6"),
};

const numbers = {
  x64: { pipe2: 293, socketpair: 53, write: 1, read: 0, close: 3, fcntl: 72, kill: 62 },
  arm64: { pipe2: 59, socketpair: 199, write: 64, read: 63, close: 57, fcntl: 25, kill: 129 },
};

/** The few system calls that the tests of a host need, made through nothing but that host. */
export class RawSyscall {
  readonly #host: Host;
  readonly #call: (address: number) => number;
  readonly #memory;

  constructor(host: Host) {
    this.#host = host;
    this.#call = host.code(code[host.arch]);
    this.#memory = host.map(8192);
  }

  call(name: keyof typeof numbers.x64, ...args: readonly number[]): number {
    const words = new DataView(this.#memory.bytes.buffer);
    [numbers[this.#host.arch][name], ...args].forEach((word, index) =>
      words.setBigInt64(index * 8, BigInt(word), true)
    );
    return this.#call(this.#memory.address);
  }

  /** A pipe: the end to read, the end to write. */
  pipe(): [number, number] {
    this.#expect(this.call("pipe2", this.#memory.address + 4096, 0o2000000));
    return this.#pair();
  }

  /** A connected pair of Unix stream sockets. */
  socketpair(): [number, number] {
    this.#expect(this.call("socketpair", 1, 1 | 0o2000000, 0, this.#memory.address + 4096));
    return this.#pair();
  }

  write(fd: number, text: string): number {
    const bytes = new TextEncoder().encode(text);
    this.#memory.bytes.set(bytes, 4096);
    return this.call("write", fd, this.#memory.address + 4096, bytes.byteLength);
  }

  #pair(): [number, number] {
    const words = new DataView(this.#memory.bytes.buffer);
    return [words.getInt32(4096, true), words.getInt32(4100, true)];
  }

  #expect(result: number): void {
    if (result < 0) throw new Error(`system call failed: errno ${-result}`);
  }
}
