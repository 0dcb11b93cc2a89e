/** What may come of a stream when its process has ended. */
export interface TailLimits {
  /** As many bytes as a pipe can hold, which a process may have left there. */
  readonly bytes: number;
  /** Milliseconds without any. */
  readonly idleMs: number;
}

const defaultLimits: TailLimits = { bytes: 1024 * 1024, idleMs: 500 };

/**
 * The output of a process that may have given its end of the pipe away (over a socket, to a process that is not of its
 * container): what it has left is read when it has ended, but nobody is waited for, or listened to, who writes on.
 * @param ended settles when the process has ended.
 */
export function boundedTail(
  output: ReadableStream<Uint8Array<ArrayBuffer>>,
  ended: Promise<unknown>,
  limits: TailLimits = defaultLimits,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = output.getReader();
  let left = Infinity;
  let reading = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  // A read that waits resolves then, as at the end.
  const wait = () => timer = setTimeout(() => reader.cancel().catch(() => {}), limits.idleMs);
  const onEnd = () => {
    left = limits.bytes;
    if (reading) wait();
  };
  ended.then(onEnd, onEnd);
  return new ReadableStream({
    async pull(controller) {
      reading = true;
      if (left !== Infinity) wait();
      try {
        const { done, value } = await reader.read();
        if (done) return controller.close();
        left -= value.length;
        controller.enqueue(value);
      } finally {
        reading = false;
        clearTimeout(timer);
      }
      if (left > 0) return;
      controller.close();
      await reader.cancel();
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}
