import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { Readable } from "node:stream";

/** A request whose body is at hand. */
export interface PlainRequest {
  readonly method: string;
  readonly headers: Headers;
  readonly body: string | Uint8Array<ArrayBuffer> | null;
  readonly signal: AbortSignal;
}

/** Statuses whose answers have no body. @see https://fetch.spec.whatwg.org/#null-body-status */
const withoutBody: readonly number[] = [204, 205, 304];

/**
 * As `fetch`, without redirects, by the `request` of `node:http` or `node:https`, which take settings that `fetch` has on no
 * two hosts alike.
 */
export function asFetch<Options extends RequestOptions>(
  request: (url: URL, options: Options & RequestOptions, onAnswer: (answer: IncomingMessage) => void) => ClientRequest,
  url: URL,
  options: Options,
  { method, headers, body, signal }: PlainRequest,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const length = body === null ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const asked = request(url, {
      ...options,
      method,
      headers: { ...Object.fromEntries(headers), ...length },
      signal,
    }, (answer) => {
      const { statusCode: status = 0, rawHeaders } = answer;
      const fields = new Headers();
      for (let i = 0; i + 1 < rawHeaders.length; i += 2) fields.append(rawHeaders[i] ?? "", rawHeaders[i + 1] ?? "");
      const empty = method === "HEAD" || withoutBody.includes(status);
      if (empty) answer.resume();
      const bytes = empty ? null : Readable.toWeb(answer) as unknown as ReadableStream<Uint8Array<ArrayBuffer>>;
      try {
        resolve(new Response(bytes, { status, headers: fields }));
      } catch (error) {
        answer.destroy();
        reject(error);
      }
    });
    asked.on("error", reject);
    asked.end(body ?? undefined);
  });
}
