import type { Caller } from "../core/access.ts";
import type { Upgrade } from "../core/web_socket.ts";
import type { Span } from "../core/monitor.ts";
import type { RateState } from "../core/rate.ts";

/** Where a request came from, as far as it is known. */
export interface Client {
  readonly address: string;
  /** Undefined where a proxy in front has told the address alone. */
  readonly port?: number | undefined;
}

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
  /** Undefined for a client of the Unix socket. */
  readonly client: Client | undefined;
  /** Whether it came over TLS. */
  readonly secure?: boolean;
  /** Tells who asks, where a function wants to know. @throws unauthenticated. */
  readonly identify: () => Promise<Caller>;
  /** It was let in before: neither its caller nor its function's rate is asked. */
  readonly accepted?: boolean;
  /** Told what is left of its function's rate. */
  readonly onRate?: (state: RateState) => void;
  /** Null for a request that has none. */
  readonly body: ReadableStream<Uint8Array> | null;
  /** The request's own span: an invocation's, which ends it, once there is one. */
  readonly span: Span;
  /** There where the caller asks for a WebSocket. */
  readonly upgrade?: Upgrade | undefined;
  /** Aborts when the caller goes away. */
  readonly signal: AbortSignal;
}
