import type { Host } from "../core/host.ts";
import type { Libc } from "./address_space.ts";
import type { DescriptorReader, DescriptorWriter } from "./descriptor_streams.ts";
import { Bun, bunFetch } from "./bun_shapes.ts";

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
export const fetchUnix: Host["fetchUnix"] = (path, request) => bunFetch(request, { unix: path });

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const common = { fetch: handler, idleTimeout: 0, maxRequestBodySize: Number.MAX_SAFE_INTEGER };
  const server = options.path === undefined
    ? Bun.serve({ ...common, hostname: options.hostname ?? "127.0.0.1", port: options.port ?? 0 })
    : Bun.serve({ fetch: handler, maxRequestBodySize: common.maxRequestBodySize, unix: options.path });
  return { port: server.port, close: ({ force } = {}) => server.stop(force ?? false) };
};
