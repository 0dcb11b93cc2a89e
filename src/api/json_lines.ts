export const jsonLinesType = "application/jsonl";

const encoder = new TextEncoder();

/**
 * An answer of JSON lines, as they are written.
 * @param work writes lines and resolves at the end; its signal aborts when the client goes away.
 * @param options.type its media type. Default `jsonLinesType`.
 */
export function jsonLines(
  work: (write: (line: unknown) => void, signal: AbortSignal) => Promise<void>,
  { type = jsonLinesType }: { readonly type?: string } = {},
): Response {
  const gone = new AbortController();
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      await work((line) => {
        if (!gone.signal.aborted) controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
      }, gone.signal);
      if (!gone.signal.aborted) controller.close();
    },
    cancel: () => gone.abort(),
  });
  return new Response(body, { headers: { "content-type": type } });
}
