/**
 * The part of Bun's API that its adapter uses. `deno check` does not know the global; it is named here once, with its
 * shapes.
 */

import type { TlsIdentity } from "../core/host.ts";

export interface BunServer {
  readonly port: number | undefined;
  stop(force?: boolean): Promise<void>;
  timeout(request: Request, seconds: number): void;
  requestIP(request: Request): { readonly address: string; readonly port: number } | null;
  /** Makes the handshake; false where the request does not allow one. */
  upgrade(
    request: Request,
    options: { readonly data: object; readonly headers?: Readonly<Record<string, string>> },
  ): boolean;
}

/** Bun's end of a WebSocket; it is told of events through the server's one set of callbacks. */
export interface BunSocket {
  readonly data: object;
  /** The number of bytes, -1 where the kernel has not taken all of them, 0 where the connection is gone. */
  sendBinary(message: Uint8Array): number;
  /** As `sendBinary`. */
  sendText(message: string): number;
  getBufferedAmount(): number;
  pause(): void;
  resume(): void;
  ping(): number;
  close(code?: number, reason?: string): void;
  terminate(): void;
}

export interface BunSocketEvents {
  /** Bytes. */
  readonly maxPayloadLength: number;
  readonly backpressureLimit: number;
  /** Seconds; 0 for no limit. */
  readonly idleTimeout: number;
  readonly sendPings: boolean;
  readonly perMessageDeflate: boolean;
  open(socket: BunSocket): void;
  message(socket: BunSocket, message: string | Uint8Array<ArrayBuffer>): void;
  drain(socket: BunSocket): void;
  pong(socket: BunSocket): void;
  close(socket: BunSocket, code: number, reason: string): void;
}

export interface BunServeOptions {
  readonly hostname?: string;
  readonly port?: number;
  readonly unix?: string;
  readonly idleTimeout?: number;
  readonly maxRequestBodySize?: number;
  readonly development?: boolean;
  readonly reusePort?: boolean;
  readonly tls?: TlsIdentity | undefined;
  readonly websocket?: BunSocketEvents;
  fetch(request: Request, server: BunServer): Promise<Response | undefined>;
  error?(error: unknown): Response | Promise<Response>;
}

interface FileSink {
  write(chunk: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number>;
  end(): number | Promise<number>;
  close(): void;
}

interface Api {
  file(path: string): Blob & { exists(): Promise<boolean> };
  file(fd: number): { stream(): ReadableStream<Uint8Array<ArrayBuffer>>; writer(): FileSink };
  serve(options: BunServeOptions): BunServer;
}

/** The global `Bun`. */
export const Bun: Api = (globalThis as unknown as { readonly Bun: Api }).Bun;

/** `fetch` with Bun's own option for Unix sockets. */
export const bunFetch: (
  request: Request,
  options: { readonly unix: string; readonly decompress?: boolean; readonly redirect?: RequestRedirect },
) => Promise<Response> = globalThis.fetch;
