/**
 * The part of Bun's API that its adapter uses. `deno check` does not know the global; it is named here once, with its
 * shapes.
 */

export interface BunServer {
  readonly port: number | undefined;
  stop(force?: boolean): Promise<void>;
  timeout(request: Request, seconds: number): void;
  requestIP(request: Request): { readonly address: string; readonly port: number } | null;
}

export interface BunServeOptions {
  readonly hostname?: string;
  readonly port?: number;
  readonly unix?: string;
  readonly idleTimeout?: number;
  readonly maxRequestBodySize?: number;
  readonly development?: boolean;
  readonly reusePort?: boolean;
  fetch(request: Request, server: BunServer): Response | Promise<Response>;
  error?(error: unknown): Response | Promise<Response>;
}

interface FileSink {
  write(chunk: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number>;
  end(): number | Promise<number>;
  close(): void;
}

interface Api {
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
