import { badAnswer } from "../failures.ts";

/** What the head of an answer may have. */
export const answerLimits = { headBytes: 64 * 1024, fields: 256 } as const;

/** The head of an answer, its fields as they came. */
export interface AnswerHead {
  /** Whether the connection could take another request, as far as its version and `Connection` say. */
  readonly persistent: boolean;
  readonly status: number;
  readonly headers: Headers;
}

const encoder = new TextEncoder();
/** Windows-1252, in truth: it has characters that are no bytes for some bytes over 0x7f. */
const decoder = new TextDecoder("latin1");
const beyond = /[^\0-\xff]/;

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const statusLine = /^HTTP\/1\.([01]) (\d{3})(?: [\t\x20-\x7e\x80-\xff]*)?$/;

/**
 * Reads the head of an answer, strictly: what two readers could take for different things is refused.
 * @throws failed_precondition (reason `bad_answer`).
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-2
 */
export function parseAnswerHead(bytes: Uint8Array): AnswerHead {
  const [first = "", ...lines] = latin1(bytes).split("\r\n");
  const start = statusLine.exec(first);
  if (start === null) throw badAnswer(`it begins with ${quote(first)}, wanted a status line of HTTP/1.1`);
  if (lines.length > answerLimits.fields) throw badAnswer(`its head has more than ${answerLimits.fields} fields`);
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    if (!token.test(name)) throw badAnswer(`its head has the line ${quote(line)}, wanted "name: value"`);
    try {
      headers.append(name, fieldValue(line, colon));
    } catch {
      throw badAnswer(`the value of its field ${quote(name)} has characters that none may have`);
    }
  }
  const connection = tokensOf(headers.get("connection"));
  const persistent = start[1] === "1" ? !connection.has("close") : connection.has("keep-alive");
  return { persistent, status: Number(start[2]), headers };
}

/**
 * What stands behind a line's colon, without the blanks around it. By hand: a regular expression that looks for blanks at the
 * end tries again at each of them in the middle, which takes seconds for a line of 64 KiB.
 */
export function fieldValue(line: string, colon: number): string {
  let [from, to] = [colon + 1, line.length];
  while (from < to && isBlank(line, from)) from++;
  while (to > from && isBlank(line, to - 1)) to--;
  return line.slice(from, to);
}

function isBlank(line: string, at: number): boolean {
  const code = line.charCodeAt(at);
  return code === 0x20 || code === 9;
}

/** How the end of a body is told. `close`: the connection's end is its. */
export type Framing = { readonly length: number } | "chunked" | "close";

/**
 * How long the body behind an answer's head is.
 * @throws failed_precondition (reason `bad_answer`).
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-6.3
 */
export function framingOf(method: string, { status, headers }: AnswerHead): Framing {
  if (method === "HEAD" || status === 204 || status === 304) return { length: 0 };
  const encoding = headers.get("transfer-encoding");
  const length = headers.get("content-length");
  if (encoding !== null) {
    if (encoding.toLowerCase() !== "chunked") {
      throw badAnswer(`its Transfer-Encoding is ${quote(encoding)}, wanted chunked alone`);
    }
    if (length !== null) throw badAnswer("it has both Transfer-Encoding and Content-Length");
    return "chunked";
  }
  if (length === null) return "close";
  // The same length said twice is one length.
  const lengths = new Set(length.split(",").map((text) => text.trim()));
  const [only = ""] = lengths;
  const value = /^\d{1,15}$/.test(only) ? Number(only) : NaN;
  if (lengths.size !== 1 || Number.isNaN(value)) throw badAnswer(`its Content-Length is ${quote(length)}`);
  return { length: value };
}

/** Fields of a request's head, which are bytes as characters: a `Headers`, or a `Map` whose values came from one. */
export interface Fields {
  set(name: string, value: string): unknown;
  forEach(each: (value: string, name: string) => void): void;
}

/** A request's head as it is sent. @param target `/path?query`. */
export function requestHead(method: string, target: string, headers: Fields): Uint8Array<ArrayBuffer> {
  let text = `${method} ${target} HTTP/1.1\r\n`;
  headers.forEach((value, name) => text += `${name}: ${value}\r\n`);
  text += "\r\n";
  const whole = encoder.encode(text);
  if (whole.length === text.length) return whole;
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The size that begins a chunk. @throws failed_precondition (reason `bad_answer`). */
export function chunkSize(line: Uint8Array): number {
  const text = latin1(line);
  const digits = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(text)?.[1];
  if (digits === undefined) throw badAnswer(`a chunk of its body begins with ${quote(text)}, wanted its size`);
  return parseInt(digits, 16);
}

/** The words of a list field, in lower case. */
export function tokensOf(value: string | null): ReadonlySet<string> {
  return new Set((value ?? "").toLowerCase().split(",").map((word) => word.trim()).filter((word) => word !== ""));
}

/** One character for each byte, which the decoder of this name gives for most of them only. */
export function latin1(bytes: Uint8Array): string {
  const decoded = decoder.decode(bytes);
  if (!beyond.test(decoded)) return decoded;
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return text;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}
