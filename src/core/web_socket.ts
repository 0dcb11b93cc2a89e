/**
 * A WebSocket as two streams of binary messages, one message a chunk. The shape is that of the web's `WebSocketStream`.
 * @see https://www.rfc-editor.org/rfc/rfc6455
 */
export interface WebSocketConnection {
  /**
   * The peer's messages, taken no faster than they are read. Ends when the peer closes the connection; errors with
   * `unavailable` when it broke off, or when the peer sent what is not allowed (text, or more than `maxMessageBytes`).
   */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /**
   * A write resolves when the kernel has the message, so that a slow peer slows the writer. A message over
   * `maxMessageBytes` is refused; a `TextMessage` goes as text. Closing it closes the connection with 1000; aborting it cuts the connection.
   */
  readonly writable: WritableStream<Uint8Array>;
  /** Resolves when the connection is gone; never rejects. */
  readonly closed: Promise<Closing>;
  /** Says goodbye; a peer that does not answer is cut off after a while. No error when the connection is gone. */
  close(closing?: Partial<Closing>): void;
}

/** How a connection ended. */
export interface Closing {
  /** 1000 normal, 1001 going away, 1006 broke off, 1008 policy, 1009 too large, 1011 failure; 4000 to 4999 are free. */
  readonly code: number;
  /** Up to 123 bytes. */
  readonly reason: string;
}

/** The largest message that is taken. */
export const maxMessageBytes = 1024 * 1024;

/** A message of text, as its UTF-8; where an upgrade takes text. */
export class TextMessage extends Uint8Array<ArrayBuffer> {}

export interface UpgradeOptions {
  /** Whether the peer may send text, which comes as `TextMessage`. Default false: text ends the connection. */
  readonly text?: boolean;
  /** The subprotocol that is agreed on, one of those that the request offers. Default none. */
  readonly protocol?: string | undefined;
}

/**
 * Turns a request into a WebSocket: its result is what the handler has to answer with. The connection is given to
 * `accept` after the handshake, and cut when `accept` rejects; nobody is told where the handshake fails.
 */
export type Upgrade = (
  accept: (connection: WebSocketConnection) => Promise<void>,
  options?: UpgradeOptions,
) => Response;

/** Two ends of a connection within this process. Cutting it ends both sides as `closed` says. */
export function webSocketPair(): readonly [WebSocketConnection, WebSocketConnection] {
  const left = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>(copies);
  const right = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>(copies);
  const closed = Promise.withResolvers<Closing>();
  const end = (ours: typeof left, theirs: typeof left): WebSocketConnection => {
    const out = ours.writable.getWriter();
    const close = ({ code = 1000, reason = "" }: Partial<Closing> = {}) => {
      closed.resolve({ code, reason });
      out.close().catch(() => {});
    };
    return {
      readable: theirs.readable,
      writable: new WritableStream({
        async write(chunk) {
          await out.write(chunk);
        },
        close: () => close(),
        async abort(reason) {
          closed.resolve({ code: 1006, reason: "" });
          await out.abort(reason);
        },
      }),
      closed: closed.promise,
      close,
    };
  };
  const ends = [end(left, right), end(right, left)] as const;
  // Both directions end with the first goodbye, as on a wire.
  closed.promise.then(() => ends.forEach((side) => side.close()));
  return ends;
}

const copies: Transformer<Uint8Array, Uint8Array<ArrayBuffer>> = {
  transform: (chunk, controller) => controller.enqueue(new Uint8Array(chunk)),
};
