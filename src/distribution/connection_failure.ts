import { Failure, messageOf } from "../core/errors.ts";

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
      `${action}: its certificate is not trusted (${reason}): name the file of its CA in a hosts.toml, or in NODE_EXTRA_CA_CERTS ` +
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
