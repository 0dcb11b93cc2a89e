import { Failure, messageOf } from "../core/errors.ts";
import { Answer, Patience } from "./answer.ts";
import { pause } from "./cancel.ts";
import { isLoopback } from "./endpoint.ts";
import { retryDelay, type RetryPolicy } from "./retry.ts";

const maxRedirects = 5;
const userAgent = "mayfly";

export interface TransportOptions {
  /** How long an answer's head may take. */
  readonly headerTimeoutMs: number;
  /** How long a body may pause. */
  readonly stallTimeoutMs: number;
  readonly retry: RetryPolicy;
}

export interface Exchange {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** For the host of `url` alone: not sent on to another that it redirects to. */
  readonly authorization?: string | undefined;
  readonly body?: string;
  readonly signal?: AbortSignal | undefined;
}

/** HTTP with time limits, redirects that do not leak credentials, and patience with what may be better the next time. */
export class Transport {
  readonly options: TransportOptions;

  constructor(options: TransportOptions) {
    this.options = options;
  }

  /**
   * Sends a request and follows its redirects. GET and HEAD are tried again when the network fails or the server says 429
   * or 5xx; after the last try, such an answer is returned as it is.
   * @throws unavailable when the network fails; deadline_exceeded; failed_precondition for a certificate that is not
   * trusted; aborted when the signal does; permission_denied for a redirect that must not be followed.
   */
  async send(exchange: Exchange): Promise<Answer> {
    const repeatable = exchange.method !== "POST";
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
    let { url } = exchange;
    const patience = new Patience(exchange.signal);
    try {
      for (let redirects = 0; redirects <= maxRedirects; redirects++) {
        const headers = new Headers(exchange.headers);
        headers.set("user-agent", userAgent);
        // A body that is packed for the way has other bytes than its digest and its ranges count.
        headers.set("accept-encoding", "identity");
        if (exchange.authorization !== undefined && url.origin === exchange.url.origin) {
          headers.set("authorization", exchange.authorization);
        }
        const { method, body = null } = exchange;
        const { headerTimeoutMs, stallTimeoutMs } = this.options;
        const response = await patience.within(
          headerTimeoutMs,
          `${url.host} did not answer`,
          () => fetch(url, { method, headers, body, redirect: "manual", signal: patience.signal }),
        );
        const location = response.headers.get("location");
        if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
          return new Answer(response, url, patience, stallTimeoutMs);
        }
        await response.body?.cancel();
        if (method === "POST") throw refusedRedirect(url, location, "a request with a body is not sent on");
        url = redirected(url, location);
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

/** Where a redirect leads. @throws permission_denied where following it would be weaker than the request was. */
function redirected(from: URL, location: string): URL {
  if (!URL.canParse(location, from)) throw refusedRedirect(from, location, "it is no address");
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:") {
    throw refusedRedirect(from, location, "it is neither https nor http");
  }
  if (from.protocol === "https:" && to.protocol === "http:") throw refusedRedirect(from, location, "it leaves https");
  if (isLoopback(to) && !isLoopback(from)) throw refusedRedirect(from, location, "it leads into this machine");
  to.username = "";
  to.password = "";
  return to;
}

function refusedRedirect(from: URL, location: string, why: string): Failure {
  const shown = JSON.stringify(location.slice(0, 200).replace(/\?.*/s, "?…"));
  return new Failure("permission_denied", `cannot follow the redirect of ${from.host} to ${shown}: ${why}`);
}

/** Puts what was to be done in front of a failure that only says what happened on the way. */
export function inContext(action: string, failure: Failure): Failure {
  if (failure.message.startsWith(action)) return failure;
  return new Failure(failure.code, `${action}: ${failure.message}`, {
    cause: failure,
    ...(failure.details === undefined ? {} : { details: failure.details }),
  });
}

/** Turns an error of `fetch` or of a body's stream into a failure. The hosts put the reason at different depths. */
export function connectionFailure(action: string, error: unknown): Failure {
  if (error instanceof Failure) return inContext(action, error);
  const texts: string[] = [];
  let innermost = messageOf(error);
  for (let at: unknown = error; at instanceof Error && texts.length < 10; at = at.cause) {
    innermost = at.message;
    texts.push(at.message, "code" in at ? String(at.code) : "");
  }
  const text = texts.join(" ");
  const reason = innermost.split("\n", 1)[0]?.slice(0, 200) ?? "";
  if (/certificate|CERT_|_CERT|SELF_SIGNED|unknown ?issuer/i.test(text)) {
    return new Failure(
      "failed_precondition",
      `${action}: its certificate is not trusted (${reason}): name the file of its CA in NODE_EXTRA_CA_CERTS ` +
        `and DENO_CERT when the daemon starts`,
      { cause: error },
    );
  }
  if (/wrong version number|EPROTO|TLS handshake|InvalidContentType|corrupt message/i.test(text)) {
    return new Failure(
      "unavailable",
      `${action}: it does not speak TLS: if plain http is meant, name it in plainHttp`,
      { cause: error },
    );
  }
  const why = /ECONNREFUSED|connection refused/i.test(text)
    ? "nobody listens there (connection refused)"
    : /ENOTFOUND|EAI_|dns error/i.test(text)
    ? "its name cannot be resolved"
    : /ECONNRESET|EPIPE|UND_ERR_SOCKET|LENGTH_MISMATCH|closed|reset|reading a body/i.test(text)
    ? "the connection was lost"
    : reason;
  return new Failure("unavailable", `${action}: ${why}`, { cause: error });
}
