import { filePartOf } from "../core/file_part.ts";
import { defaultHeadTimeoutMs, type Host, type TlsIdentity } from "../core/host.ts";
import type { Libc } from "./address_space.ts";
import type { DescriptorReader, DescriptorWriter } from "./descriptor_streams.ts";
import { RenewedServer } from "./bun_renewal.ts";
import { Bun, bunFetch } from "./bun_shapes.ts";
import { BunSockets } from "./bun_web_socket.ts";
import { connectFailure, defaultHostname, guarded, listenFailure } from "./http_failures.ts";
import { peerAddress } from "./peer_address.ts";
import { asksForWebSocket, brokenHandshake } from "./upgrade_once.ts";

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
    throw connectFailure(path, request.signal, error);
  }
};

/** @see Host.serve */
export const serve: Host["serve"] = async (options, handler) => {
  const address = options.path === undefined
    ? { hostname: options.hostname ?? defaultHostname, port: options.port ?? 0 }
    : { unix: options.path };
  const answer = guarded(handler);
  // On a Unix socket Bun keeps its limit while a request is answered, and cuts it.
  const idleSeconds = options.path === undefined
    ? Math.min(255, Math.ceil((options.headTimeoutMs ?? defaultHeadTimeoutMs) / 1000))
    : 0;
  const sockets = new BunSockets();
  const start = (tls: TlsIdentity | undefined, port: number | undefined) =>
    Bun.serve({
      ...address,
      ...(port !== undefined && { port }),
      ...(tls !== undefined && { tls }),
      async fetch(request, server) {
        // Bun's limit is one of silence, over all of a connection: it is lifted while a request is answered.
        server.timeout(request, 0);
        const connection = { peer: () => peerAddress(server.requestIP(request)) };
        if (asksForWebSocket(request.method, request.headers.get("upgrade"))) {
          return brokenHandshake(request.headers) ?? await sockets.upgrade(request, connection, server, answer);
        }
        const response = await fromFile(await answer(request, connection));
        return beforeEnd(response, () => server.timeout(request, idleSeconds));
      },
      websocket: sockets.events,
      idleTimeout: idleSeconds,
      // Bun would refuse bodies over 128 MiB.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      development: false,
      // A certificate is renewed by a server that follows on the same port.
      reusePort: options.tls !== undefined,
    });
  let server: RenewedServer;
  try {
    // Two servers may have one port then, so whether somebody else has it is asked first.
    if (options.tls !== undefined && options.port) {
      await Bun.serve({ ...address, fetch: () => Promise.resolve(undefined), reusePort: false }).stop(true);
    }
    server = new RenewedServer(start, options.tls);
  } catch (error) {
    throw listenFailure(options, error);
  }
  return {
    port: options.path === undefined ? server.port : undefined,
    renew: (identity) => server.renew(identity),
    close({ force = false } = {}) {
      // Before Bun does, which would send a goodbye even to those that are cut.
      sockets.close(force);
      return server.stop(force);
    },
  };
};

/** Bun gives no length to what comes as a stream: where that is of a file, Bun gets the file itself. */
async function fromFile(response: Response): Promise<Response> {
  const { body } = response;
  const part = body === null || !response.headers.has("content-length") ? undefined : filePartOf(body);
  const file = part && Bun.file(part.path);
  // One that has been removed goes on as a stream, which has it open.
  if (part === undefined || file === undefined || !await file.exists()) return response;
  await body?.cancel();
  return new Response(file.slice(part.start, part.end), response);
}

/** A response that calls back as the last of it is handed over: from then on its request is not known any more. */
function beforeEnd(response: Response, callback: () => void): Response {
  // What has a length is whole, and its body's own bytes, which are sent without a stream.
  if (response.headers.has("content-length") || response.body === null) {
    callback();
    return response;
  }
  const reader = response.body.getReader();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (!done) return controller.enqueue(value);
      callback();
      controller.close();
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
  return new Response(body, response);
}
