/**
 * A stream of what a generator makes, as fast as it is read.
 * @param onCancel what ends a generator that waits.
 */
export function byteStream(
  source: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  onCancel: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await source.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      onCancel();
      await source.return(undefined);
    },
  }, { highWaterMark: 0 });
}
