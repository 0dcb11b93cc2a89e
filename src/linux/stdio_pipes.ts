import type { Host } from "../core/host.ts";
import { F_DUPFD_CLOEXEC } from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import { pipe } from "./pipe.ts";

/** Which of the standard streams are pipes; the others are /dev/null. */
export interface Piped {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** The same, or descriptors of this process's own. */
export interface StdioSources {
  readonly stdin: boolean | number;
  readonly stdout: boolean | number;
  readonly stderr: boolean | number;
}

export const streamNames = ["stdin", "stdout", "stderr"] as const;

/** The container's ends of its pipes, as descriptors of the daemon; undefined for what is /dev/null. */
export interface StdioEnds {
  readonly stdin: number | undefined;
  readonly stdout: number | undefined;
  readonly stderr: number | undefined;
}

/**
 * The pipes of a task. The container's ends are held until it has been started; the daemon's ends become streams when
 * somebody asks for them, and from then on belong to who reads or writes them.
 */
export class Pipes {
  readonly #kernel: Kernel;
  readonly #host: Host;
  /** The container's ends that are still open here. */
  #ends: StdioEnds = { stdin: undefined, stdout: undefined, stderr: undefined };
  /** The daemon's ends that are no streams yet. */
  readonly #own: { stdin?: number; stdout?: number; stderr?: number } = {};
  readonly #ended = Promise.withResolvers<void>();
  #stdin: WritableStream<Uint8Array> | undefined;
  #stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;

  /**
   * @param stdio of a descriptor, a copy is taken.
   * @throws resource_exhausted when there are too many descriptors; none is left open then.
   */
  constructor(kernel: Kernel, stdio: StdioSources) {
    this.#kernel = kernel;
    this.#host = kernel.host;
    try {
      for (const name of streamNames) {
        const source = stdio[name];
        if (typeof source === "number") {
          // Never one of the first three, which are overwritten one after the other.
          this.#ends = { ...this.#ends, [name]: kernel.call("fcntl", source, F_DUPFD_CLOEXEC, 3) };
          continue;
        }
        if (!source) continue;
        const { read, write } = pipe(kernel);
        this.#ends = { ...this.#ends, [name]: name === "stdin" ? read : write };
        this.#own[name] = name === "stdin" ? write : read;
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The container's ends. */
  get ends(): StdioEnds {
    return this.#ends;
  }

  get stdin(): WritableStream<Uint8Array> | undefined {
    const fd = this.#take("stdin");
    if (fd !== undefined) this.#stdin = this.#host.writable(fd);
    return this.#stdin;
  }

  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    const fd = this.#take("stdout");
    if (fd !== undefined) this.#stdout = this.#host.readable(fd, { ended: this.#ended.promise });
    return this.#stdout;
  }

  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    const fd = this.#take("stderr");
    if (fd !== undefined) this.#stderr = this.#host.readable(fd, { ended: this.#ended.promise });
    return this.#stderr;
  }

  /** Lets go of the container's ends: only the container holds them then, and their end is its end. */
  release(): void {
    const { stdin, stdout, stderr } = this.#ends;
    this.#ends = { stdin: undefined, stdout: undefined, stderr: undefined };
    for (const fd of [stdin, stdout, stderr]) if (fd !== undefined) this.#kernel.attempt("close", fd);
  }

  /** The container's init has ended: nothing more is likely to come. */
  end(): void {
    this.#ended.resolve();
  }

  /** Closes whatever nobody is using. Streams that somebody reads or writes go on to their end. */
  close(): void {
    this.release();
    this.end();
    for (const name of streamNames) {
      const fd = this.#take(name);
      if (fd !== undefined) this.#kernel.attempt("close", fd);
    }
    const ignore = () => {};
    if (this.#stdin?.locked === false) this.#stdin.abort().catch(ignore);
    if (this.#stdout?.locked === false) this.#stdout.cancel().catch(ignore);
    if (this.#stderr?.locked === false) this.#stderr.cancel().catch(ignore);
  }

  #take(name: keyof Piped): number | undefined {
    const fd = this.#own[name];
    delete this.#own[name];
    return fd;
  }
}
