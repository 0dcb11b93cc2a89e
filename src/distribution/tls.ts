import { Agent, request } from "node:https";
import { asFetch, type PlainRequest } from "./as_fetch.ts";

/** Whom a registry's host trusts and what it wants to be shown. */
export interface TlsOptions {
  /** CAs that are trusted beside the system's, as PEM. */
  readonly ca?: readonly string[];
  /** What is shown to the server, as PEM. */
  readonly client?: readonly { readonly cert: string; readonly key: string }[];
  /** Whether any certificate will do. */
  readonly skipVerify?: boolean;
}

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
  fetch(url: URL, init: PlainRequest): Promise<Response> {
    return asFetch(request, url, { agent: this.#agent(url) }, init);
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
