import { request as httpRequest } from "node:http";
import { Readable } from "node:stream";

/** @see Host.fetchUnix */
export async function fetchUnix(path: string, request: Request): Promise<Response> {
  const url = new URL(request.url);
  return await new Promise((resolve, reject) => {
    const out = httpRequest({
      socketPath: path,
      method: request.method,
      path: url.pathname + url.search,
      headers: { host: url.host, ...Object.fromEntries(request.headers) },
      signal: request.signal,
    }, (response) => {
      const bodiless = response.statusCode === 204 || response.statusCode === 304;
      resolve(
        new Response(bodiless ? null : Readable.toWeb(response) as unknown as ReadableStream, {
          status: response.statusCode ?? 500,
          headers: Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
        }),
      );
    });
    out.on("error", reject);
    if (request.body === null) out.end();
    else Readable.fromWeb(request.body as unknown as Parameters<typeof Readable.fromWeb>[0]).pipe(out);
  });
}
