import { Failure } from "../core/errors.ts";
import { Answer, Patience } from "./answer.ts";
import { pause } from "./cancel.ts";
import { connectionFailure } from "./connection_failure.ts";
import { checkNetwork, redirected, refusedRedirect } from "./redirect.ts";
import { retryDelay, type RetryPolicy } from "./retry.ts";
import type { PlainRequest } from "./as_fetch.ts";
import { checkedFetch } from "./checked_fetch.ts";
import type { Tls } from "./tls.ts";

const maxRedirects = 5;
const userAgent = "mayfly";
/** The slowest that a body may be taken, in bytes a second: the answer is waited for so much longer. */
const slowestBytes = 64 << 10;

export interface TransportOptions {
  /** How long an answer's head may take. */
  readonly headerTimeoutMs: number;
  /** How long a body may pause. */
  readonly stallTimeoutMs: number;
  readonly retry: RetryPolicy;
}

export interface Exchange {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: URL;
  /** What `checkNetwork` found of `url`, where somebody else named that. */
  readonly addresses?: readonly string[] | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** In place of what the host trusts. */
  readonly tls?: Tls | undefined;
  /** For the host of `url` alone: not sent on to another that it redirects to. */
  readonly authorization?: string | undefined;
  /** More headers for that host alone. */
  readonly own?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  /** Whether it may be sent again when nobody knows what became of it. Default: GET and HEAD. */
  readonly repeatable?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** HTTP with time limits, redirects that do not leak credentials, and patience with what may be better the next time. */
export class Transport {
  readonly options: TransportOptions;

  constructor(options: TransportOptions) {
    this.options = options;
  }

  /**
   * Sends a request and follows its redirects. What is repeatable is tried again when the network fails or the server says
   * 429 or 5xx; after the last try, such an answer is returned as it is.
   * @throws unavailable when the network fails; deadline_exceeded; failed_precondition for a certificate that is not
   * trusted; aborted when the signal does; permission_denied for a redirect that must not be followed.
   */
  async send(exchange: Exchange): Promise<Answer> {
    const { repeatable = exchange.method === "GET" || exchange.method === "HEAD" } = exchange;
    for (let failures = 1;; failures++) {
      const answer = await this.#follow(exchange).catch((error: unknown) =>
        error instanceof Failure ? error : connectionFailure(`cannot reach ${exchange.url.host}`, error)
      );
      const retryable = exchange.signal?.aborted
        ? false
        : answer instanceof Failure
        ? answer.code === "unavailable" || answer.code === "deadline_exceeded"
        : answer.status === 429 || answer.status >= 500 && answer.status !== 501;
      const after = answer instanceof Failure ? undefined : answer.headers.get("retry-after");
      const delay = retryable && repeatable ? retryDelay(this.options.retry, failures, after) : undefined;
      if (delay === undefined) {
        if (answer instanceof Failure) throw answer;
        return answer;
      }
      if (!(answer instanceof Failure)) await answer.discard();
      await pause(delay, exchange.signal);
    }
  }

  async #follow(exchange: Exchange): Promise<Answer> {
    let { url, addresses } = exchange;
    const patience = new Patience(exchange.signal);
    try {
      for (let redirects = 0; redirects <= maxRedirects; redirects++) {
        const headers = new Headers(exchange.headers);
        headers.set("user-agent", userAgent);
        // A body that is packed for the way has other bytes than its digest and its ranges count.
        headers.set("accept-encoding", "identity");
        if (url.origin === exchange.url.origin) {
          for (const [name, value] of Object.entries(exchange.own ?? {})) headers.set(name, value);
          if (exchange.authorization !== undefined) headers.set("authorization", exchange.authorization);
        }
        const { method, body = null, tls } = exchange;
        const ask = (url: URL, init: PlainRequest) => {
          if (tls !== undefined && url.protocol === "https:") return tls.fetch(url, init);
          if (addresses !== undefined && url.protocol === "http:") return checkedFetch(url, addresses, init);
          return fetch(url, { ...init, redirect: "manual" });
        };
        const { headerTimeoutMs, stallTimeoutMs } = this.options;
        const response = await patience.within(
          headerTimeoutMs + (body?.length ?? 0) * 1000 / slowestBytes,
          `${url.host} did not answer`,
          () => ask(url, { method, headers, body, signal: patience.signal }),
        );
        const location = response.headers.get("location");
        if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
          return new Answer(response, url, patience, stallTimeoutMs);
        }
        await response.body?.cancel();
        if (method !== "GET" && method !== "HEAD") {
          throw refusedRedirect(url, location, "only what asks is sent on, not what changes something");
        }
        const next = redirected(url, location);
        // By who was asked first: whoever is led outside is not let in again.
        addresses = await checkNetwork(exchange.url, next);
        url = next;
      }
      throw new Failure(
        "unavailable",
        `cannot reach ${exchange.url.host}: it redirects more than ${maxRedirects} times`,
      );
    } catch (error) {
      patience.end();
      throw error;
    }
  }
}
