import { Agent, request } from "node:https";
import { Readable } from "node:stream";

/** Whom a registry's host trusts and what it wants to be shown. */
export interface TlsOptions {
  /** CAs that are trusted beside the system's, as PEM. */
  readonly ca?: readonly string[];
  /** What is shown to the server, as PEM. */
  readonly client?: readonly { readonly cert: string; readonly key: string }[];
  /** Whether any certificate will do. */
  readonly skipVerify?: boolean;
}

/** Statuses whose answers have no body. @see https://fetch.spec.whatwg.org/#null-body-status */
const withoutBody: readonly number[] = [204, 205, 304];

/**
 * HTTPS with settings of its own, which `fetch` has on no two hosts alike.
 *
 * The CAs are trusted wherever the registry sends us on to; the client's certificate is shown to nobody else, and nobody
 * else goes unverified.
 */
export class Tls {
  readonly #options: TlsOptions;
  readonly #origin: string;
  #own: Agent | undefined;
  #other: Agent | undefined;

  /** @param origin whom the settings are for. */
  constructor(origin: string, options: TlsOptions) {
    this.#origin = origin;
    this.#options = options;
  }

  /** As `fetch` of a request whose body is at hand. */
  fetch(url: URL, init: TlsRequest): Promise<Response> {
    const { method, headers, body, signal } = init;
    return new Promise((resolve, reject) => {
      const length = body === null ? {} : { "content-length": String(Buffer.byteLength(body)) };
      const asked = request(url, {
        agent: this.#agent(url),
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

  #agent(url: URL): Agent {
    const { ca, client, skipVerify } = this.#options;
    const trust = ca === undefined ? {} : { ca: [...ca] };
    if (url.origin !== this.#origin) return this.#other ??= new Agent({ keepAlive: true, ...trust });
    return this.#own ??= new Agent({
      keepAlive: true,
      ...trust,
      ...(client === undefined ? {} : { cert: client.map(({ cert }) => cert), key: client.map(({ key }) => key) }),
      ...(skipVerify === true ? { rejectUnauthorized: false } : {}),
    });
  }
}

export interface TlsRequest {
  readonly method: string;
  readonly headers: Headers;
  readonly body: string | Uint8Array<ArrayBuffer> | null;
  readonly signal: AbortSignal;
}
