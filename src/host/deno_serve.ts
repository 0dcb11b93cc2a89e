import type { Host } from "../core/host.ts";
import { Deno } from "./deno_shapes.ts";
import { defaultHostname, guarded, listenFailure } from "./http_failures.ts";

/**
 * `deno.json` asks for `no-legacy-abort`: without it Deno aborts signals after a good end too, and warns of that.
 * @see Host.serve
 */
export const serve: Host["serve"] = async (options, handler) => {
  const abort = new AbortController();
  const address = options.path === undefined
    ? { hostname: options.hostname ?? defaultHostname, port: options.port ?? 0 }
    : { path: options.path };
  const settings = { ...address, signal: abort.signal, automaticCompression: false, onListen() {} };
  const answer = guarded(handler);
  let server;
  try {
    server = Deno.serve(settings, (request) => answered(request, answer));
  } catch (error) {
    throw listenFailure(options, error);
  }
  let shutdown: Promise<void> | undefined;
  return {
    port: server.addr.port,
    async close({ force } = {}) {
      // A server that is shutting down cannot be aborted any more: Deno throws past its caller. What still runs then is
      // cut by the end of the process, which it does not keep from ending.
      if (force && shutdown !== undefined) return server.unref();
      if (force && !abort.signal.aborted) abort.abort();
      else if (!force) await (shutdown ??= server.shutdown());
      await server.finished;
    },
  };
};

/**
 * Mends what differs from the other hosts: over a Unix socket Deno calls the scheme `http+unix`, and once a response is
 * under way its signal tells nothing of a client that leaves; only the body is cancelled.
 */
async function answered(request: Request, answer: (request: Request) => Promise<Response>): Promise<Response> {
  const signalOfDeno = () => Reflect.get(Request.prototype, "signal", request) as AbortSignal;
  const abort = () => gone?.abort(new DOMException("the client has gone", "AbortError"));
  let gone: AbortController | undefined;
  const response = await answer(Object.defineProperties(request, {
    url: { value: request.url.replace(/^http\+unix:/, "http:") },
    signal: {
      get() {
        if (gone === undefined) {
          gone = new AbortController();
          signalOfDeno().addEventListener("abort", abort);
        }
        return gone.signal;
      },
    },
  }));
  if (gone === undefined) return response;
  signalOfDeno().removeEventListener("abort", abort);
  return response.body === null ? response : new Response(watched(response.body, abort), response);
}

/** The same stream, and a call when its consumer cancels it. */
function watched(body: ReadableStream<Uint8Array>, cancelled: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel(reason) {
      cancelled();
      return reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
