import type { Libc } from "./address_space.ts";

/** How a runtime goes on with a descriptor that would have blocked. From here on it owns the descriptor. */
export interface DescriptorReader {
  /** The next bytes, or undefined at the end, when the descriptor is closed. */
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Closes the descriptor. */
  cancel(): Promise<void>;
}

/** How a runtime goes on with a descriptor that takes no more bytes for now. From here on it owns the descriptor. */
export interface DescriptorWriter {
  /** Resolves when the kernel has taken all of it. */
  write(chunk: Uint8Array): Promise<void>;
  /** Closes the descriptor. */
  close(): Promise<void>;
  /** Closes the descriptor and fails the write under way. May be called more than once. */
  abort(): Promise<void>;
}

const setStatusFlags = 4;
const setPipeSize = 1031;
const nonBlocking = 0o4000;

const chunkBytes = 64 << 10;
/** A quarter of what an unprivileged process may ask for; a refusal is harmless. Fewer wake-ups for a long stream. */
const longPipeBytes = 256 << 10;

/** How long a stream whose writer is about to end is left alone. */
const patienceMs = 4;

/**
 * A stream over a descriptor. What lies in the pipe is read by one system call; the runtime's own machinery, which costs
 * ten times that to set up, is made where a read would block, and most short streams are over by then.
 * @param ended resolves when the writer has ended; a first read that would block waits for that a little while.
 */
export function readable(
  libc: Libc,
  fd: number,
  wait: (fd: number) => DescriptorReader,
  ended: Promise<void> | undefined,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  libc.fcntl(fd, setStatusFlags, nonBlocking);
  let source: DescriptorReader | undefined;
  let patient = ended !== undefined;
  let cancelled = false;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      if (source === undefined) {
        let length = libc.read(fd, scratch);
        if (length < 0 && patient && ended !== undefined) {
          patient = false;
          await within(patienceMs, ended);
          if (cancelled) return;
          length = libc.read(fd, scratch);
        }
        if (length > 0) return controller.enqueue(scratch.slice(0, length));
        if (length === 0) {
          libc.close(fd);
          return controller.close();
        }
        // The error is read again by the runtime, which can tell EAGAIN from the others.
        libc.fcntl(fd, setPipeSize, longPipeBytes);
        source = wait(fd);
      }
      const chunk = await source.read();
      if (chunk === undefined) return controller.close();
      controller.enqueue(chunk);
    },
    cancel() {
      cancelled = true;
      if (source === undefined) libc.close(fd);
      else return source.cancel();
    },
  }, { highWaterMark: 0 });
}

/** Resolves with the event, or when it has not come in time. */
function within(ms: number, event: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    event.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Shared by all: it is filled and copied from within one synchronous step. */
const scratch = new Uint8Array(chunkBytes);

/** As `readable`, the other way: the runtime's machinery is made when the pipe is full. */
export function writable(
  libc: Libc,
  fd: number,
  wait: (fd: number) => DescriptorWriter,
): WritableStream<Uint8Array> {
  libc.fcntl(fd, setStatusFlags, nonBlocking);
  let sink: DescriptorWriter | undefined;
  const close = () => {
    if (sink === undefined) libc.close(fd);
    else return sink.close();
  };
  return new WritableStream<Uint8Array>({
    async write(chunk, controller) {
      let rest = chunk;
      if (sink === undefined) {
        if (rest.byteLength === 0) return;
        rest = rest.subarray(Math.max(0, libc.write(fd, rest)));
        if (rest.byteLength === 0) return;
        libc.fcntl(fd, setPipeSize, longPipeBytes);
        sink = wait(fd);
        // An abort is told to the sink only after the write under way, which may never end.
        controller.signal.addEventListener("abort", () => void sink?.abort());
      }
      try {
        await sink.write(rest);
      } catch (error) {
        await sink.abort();
        throw error;
      }
    },
    close,
    abort: () => sink === undefined ? close() : sink.abort(),
  });
}
