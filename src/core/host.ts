/**
 * What the process needs from the JavaScript runtime it runs on and that web standards do not give.
 *
 * There is one implementation each for Deno, Bun and Node (`src/host`). Nothing else in the tree may ask which one it is.
 */

import type { Upgrade, WebSocketConnection } from "./web_socket.ts";

export type HostName = "deno" | "bun" | "node";

/** Pages of this process, seen from JavaScript. They are never moved, and are given back only by `release`. */
export interface Memory {
  /** Address of the first byte. User addresses are below 2^47, so a number holds them exactly. */
  readonly address: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  release(): void;
}

/** A function of a shared library. */
export type LibraryFunction = (...args: readonly number[]) => number;

/** What a server shows its clients, in PEM. */
export interface TlsIdentity {
  /** Its certificate, with the chain behind it. */
  readonly cert: string;
  /** The certificate's private key. */
  readonly key: string;
}

export interface ListenOptions {
  /** Address to listen on, with `port` (0 lets the kernel choose). */
  readonly hostname?: string;
  readonly port?: number;
  /** Path of a Unix socket, in place of `hostname` and `port`. A stale file there is the caller's to remove. */
  readonly path?: string;
  /** Where given, TLS alone is spoken there, 1.2 or newer. */
  readonly tls?: TlsIdentity | undefined;
  /**
   * How long a connection may be without a request: until the head of its first one is whole, and between two. Default
   * 30 s. Hosts look at it from time to time, so that it may take half as long again; Bun gives a new TCP connection 10 s
   * whatever is said here, and sets no limit on Unix sockets.
   */
  readonly headTimeoutMs?: number;
}

/** The limit of `ListenOptions.headTimeoutMs` where none is given. */
export const defaultHeadTimeoutMs = 30_000;

/** One end of a TCP connection. */
export interface PeerAddress {
  /** An IPv4 or IPv6 address without brackets; an IPv4 one that came over an IPv6 listener is written as IPv4. */
  readonly address: string;
  readonly port: number;
}

/** What a request came over. */
export interface Connection {
  /** Its other end; undefined on a Unix socket, or where the client has gone already. */
  peer(): PeerAddress | undefined;
  /** There where the request asks for a WebSocket. */
  readonly upgrade?: Upgrade;
}

export interface Listener {
  /** The port in use; undefined for a Unix socket. */
  readonly port: number | undefined;
  /** Shows another certificate to connections from now on, where TLS is spoken; those that are open stay as they are. */
  renew(identity: TlsIdentity): void;
  /**
   * Stops accepting connections and resolves when the running requests have ended; with `force`, their connections
   * are cut. WebSockets are told 1001 (going away) and not waited for; with `force` they are cut.
   */
  close(options?: { readonly force?: boolean }): Promise<void>;
}

/**
 * Answers one request. `request.signal` aborts when the client goes away before the response is complete; while a part of
 * the request's body waits to be read, its going is seen only behind that part. An error in the response's body stream
 * cuts the connection, so that the client sees a broken answer and never a short one. A handler that throws is a 500. A
 * Content-Length is sent where the body is whole already, or a part of a file (`file_part.ts`); a stream may go without.
 */
export type FetchHandler = (request: Request, connection: Connection) => Response | Promise<Response>;

export interface ConnectWebSocketOptions {
  /** An `http:` or `ws:` URL. */
  readonly url: string;
  /** The Unix socket to connect to, in place of the URL's host, which then is the Host header alone. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Gives up the handshake; later it does nothing. */
  readonly signal?: AbortSignal;
}

/** A TCP connection that came in. */
export interface TcpConnection {
  /** What the other side sends, to its end; an error where the connection breaks. Cancelling cuts it. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Closing tells the other side the end and leaves what it sends; aborting cuts the connection. */
  readonly writable: WritableStream<Uint8Array>;
  peer(): PeerAddress | undefined;
  /** Ends it at once, in both directions. */
  cut(): void;
}

/** The duties of an adapter. */
export interface Host {
  readonly name: HostName;
  /** The runtime's own version, for example `2.9.6`. */
  readonly version: string;
  /** The processor, in Node's words. */
  readonly arch: "x64" | "arm64";
  /** This process's id. */
  readonly pid: number;
  /** The environment of this process, as it is now. */
  readonly env: Readonly<Record<string, string | undefined>>;

  /** Maps zeroed, private, writable pages. @param byteLength rounded up to whole pages. */
  map(byteLength: number): Memory;
  /**
   * Loads machine code and returns a function that calls it on this thread, blocking.
   *
   * @param code position-independent code that keeps to the C calling convention `int64_t f(void *)`.
   * @returns the callable; its result is the low 53 bits, signed.
   */
  code(code: Uint8Array): (address: number) => number;
  /**
   * Loads functions of a shared library, which are called on this thread, blocking. Its own symbols come before those of this
   * process, which may have another version of the same library in it.
   *
   * @param name as the dynamic loader takes it, for example `libzstd.so.1`.
   * @param functions how many arguments each takes, all of them addresses or sizes; what it returns is taken as `int64_t`.
   * @returns undefined where there is no such library, or it lacks one of them.
   */
  library<Name extends string>(
    name: string,
    functions: Readonly<Record<Name, number>>,
  ): Readonly<Record<Name, LibraryFunction>> | undefined;

  /**
   * Reads a pipe or stream socket until its end. The stream owns the descriptor and closes it at the end, on error, and
   * on cancel. Reads happen only as the consumer pulls, in chunks of up to 64 KiB or more.
   * @param options.ended resolves when the program that writes has ended: a short one is then read with less effort. It
   * never rejects.
   */
  readable(fd: number, options?: { readonly ended?: Promise<void> }): ReadableStream<Uint8Array<ArrayBuffer>>;
  /**
   * Writes to a pipe or stream socket. The stream owns the descriptor and closes it on close and on abort; `close()`
   * resolves when the kernel has all bytes and the descriptor is closed. Writing to a reader that is gone errors the stream
   * with `EPIPE` in the message; a reader that goes while nothing is written is not noticed.
   */
  writable(fd: number): WritableStream<Uint8Array>;

  /**
   * Calls back after SIGCHLD, at least once after each child's end. Returns the way to stop. A listener does not keep the
   * process alive on every host: who waits for a child sees to that.
   */
  onChild(listener: () => void): () => void;
  /** Calls back on a signal in place of its default action. Returns the way to stop. */
  onSignal(
    signal: "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGUSR2" | "SIGWINCH" | "SIGURG",
    listener: () => void,
  ): () => void;

  /** Serves HTTP/1.1. @throws unavailable when the address is in use; permission_denied when it is not allowed. */
  serve(options: ListenOptions, handler: FetchHandler): Promise<Listener>;
  /**
   * Accepts TCP connections. @param options.port 0 lets the kernel choose. @throws unavailable when the address is in use;
   * permission_denied when it is not allowed; invalid_argument when the machine has not got it.
   */
  listenTcp(
    options: { readonly hostname: string; readonly port: number },
    onConnection: (connection: TcpConnection) => void,
  ): Promise<Pick<Listener, "port" | "close">>;
  /** `fetch` over a Unix socket: the URL's host is sent as the Host header and not looked up. */
  fetchUnix(path: string, request: Request): Promise<Response>;
  /**
   * Opens a WebSocket.
   * @returns the connection, or the answer of a server that refuses it. @throws unavailable; permission_denied.
   */
  connectWebSocket(options: ConnectWebSocketOptions): Promise<WebSocketConnection | Response>;
}
