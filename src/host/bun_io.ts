import type { Host } from "../core/host.ts";
import type { Libc } from "./address_space.ts";
import type { DescriptorReader, DescriptorWriter } from "./descriptor_streams.ts";
import { Bun, bunFetch, type BunServer } from "./bun_shapes.ts";
import { connectFailure, defaultHostname, guarded, listenFailure } from "./http_failures.ts";

/**
 * Reads a descriptor through `Bun.file`: Bun's `node:net` never reads a pipe. Bun makes a descriptor of its own as the
 * reader is taken, so that the given one is closed at once.
 */
export function fileReader(libc: Libc, fd: number): DescriptorReader {
  const reader = Bun.file(fd).stream().getReader();
  libc.close(fd);
  return {
    async read() {
      return (await reader.read()).value;
    },
    cancel: () => reader.cancel(),
  };
}

/**
 * Writes a descriptor through `Bun.file`: Bun's `node:net` blocks the thread on a full pipe. Here too Bun makes a
 * descriptor of its own.
 */
export function fileWriter(libc: Libc, fd: number): DescriptorWriter {
  const sink = Bun.file(fd).writer();
  libc.close(fd);
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => {});
  return {
    async write(chunk) {
      await Promise.race([sink.write(chunk), aborted.promise]);
      await Promise.race([sink.flush(), aborted.promise]);
    },
    async close() {
      await sink.end();
    },
    async abort() {
      aborted.reject(new Error("the stream was aborted"));
      sink.close();
    },
  };
}

/** @see Host.fetchUnix */
export const fetchUnix: Host["fetchUnix"] = async (path, request) => {
  try {
    return await bunFetch(request, { unix: path, decompress: false, redirect: "manual" });
  } catch (error) {
    throw connectFailure(path, request, error);
  }
};

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const address = options.path === undefined
    ? { hostname: options.hostname ?? defaultHostname, port: options.port ?? 0 }
    : { unix: options.path };
  let server: BunServer;
  try {
    server = Bun.serve({
      ...address,
      fetch: guarded(handler),
      // Bun would cut connections after 10 s of silence, and refuse bodies over 128 MiB.
      idleTimeout: 0,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      development: false,
      reusePort: false,
    });
  } catch (error) {
    throw listenFailure(options, error);
  }
  return {
    port: options.path === undefined ? server.port : undefined,
    close: ({ force } = {}) => server.stop(force ?? false),
  };
};
