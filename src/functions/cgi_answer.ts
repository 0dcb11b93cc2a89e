import { headerLimits } from "./cgi.ts";
import { badAnswer } from "./failures.ts";
import { fieldValue } from "./http/message.ts";

/** What stands before the body of a CGI program's output. */
export interface CgiHead {
  readonly status: number;
  readonly headers: Headers;
  /** Its length in bytes, the empty line included. */
  readonly length: number;
}

const newline = 0x0a;
const carriageReturn = 0x0d;

/** Those that are of one connection, and what the daemon itself says. */
const withheld: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "proxy-authenticate",
  "proxy-connection",
  "server-timing",
  "status",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Whether the head is there as a whole, or is too large to be one. */
export function hasCgiHead(bytes: Uint8Array): boolean {
  return bytes.length > headerLimits.bytes || endOfHead(bytes) >= 0;
}

/** @returns the body's first byte; -1 where there is more to come. */
function endOfHead(bytes: Uint8Array): number {
  for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, at + 1)) {
    if (at === 0 || (at === 1 && bytes[0] === carriageReturn)) return at + 1;
    const next = bytes[at + 1] === carriageReturn ? at + 2 : at + 1;
    if (bytes[next] === newline) return next + 1;
  }
  return -1;
}

/**
 * Parses the head of a CGI program's output, which may hold more than that: `Status: 404 Not Found`, `Location:`, `Content-Type:` and what HTTP has
 * besides. A `Location` without a status is a redirect (302), also one to a path: it is the client's to follow.
 *
 * @throws failed_precondition (reason `bad_answer`).
 * @see https://www.rfc-editor.org/rfc/rfc3875#section-6
 */
export function parseCgiHead(bytes: Uint8Array): CgiHead {
  const length = endOfHead(bytes);
  if (length > headerLimits.bytes || (length < 0 && bytes.length > headerLimits.bytes)) {
    throw badAnswer(`its header fields have more than ${headerLimits.bytes} bytes`);
  }
  if (length < 0) throw badAnswer("it has no end of CGI's header fields: want an empty line behind them");
  const lines = new TextDecoder("latin1").decode(bytes.subarray(0, length)).split(/\r?\n/).filter((line) =>
    line !== ""
  );
  if (lines.length > headerLimits.count) throw badAnswer(`it has more than ${headerLimits.count} header fields`);
  const headers = new Headers();
  let status: number | undefined;
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    const value = fieldValue(line, colon);
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || /[\0\r]/.test(value)) {
      throw badAnswer(
        `${JSON.stringify(line.slice(0, 100))} is no header field: want CGI's Name: value, and an empty line`,
      );
    }
    const field = name.toLowerCase();
    if (field === "status") {
      const [, code] = /^([2-5]\d\d)(?:[ \t]|$)/.exec(value) ?? [];
      if (code === undefined) throw badAnswer(`its Status is ${JSON.stringify(value.slice(0, 100))}: want 200 to 599`);
      status = Number(code);
    } else if (!withheld.has(field) && !field.startsWith("x-mayfly-")) headers.append(field, value);
  }
  return { status: status ?? (headers.has("location") ? 302 : 200), headers, length };
}

/** Header fields of a program's beside the daemon's own, of which it may replace the Content-Type. */
export function withCgiHeaders(own: Readonly<Record<string, string>>, headers: Headers): Headers {
  const all = new Headers(headers);
  for (const [name, value] of Object.entries(own)) {
    if (name !== "content-type" || !headers.has(name)) all.set(name, value);
  }
  return all;
}
