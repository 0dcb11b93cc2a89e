/** What an invocation needs of a request. */
export interface InvocationRequest {
  readonly method: string;
  /** The path that named the function: `/fn/hello`. */
  readonly scriptName: string;
  /** What follows it, still percent-encoded; empty or beginning with a slash. */
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
  readonly headers: Headers;
  /** Null for a request that has none. */
  readonly body: ReadableStream<Uint8Array> | null;
  /** Aborts when the caller goes away. */
  readonly signal: AbortSignal;
}
