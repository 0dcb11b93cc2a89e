import type { Connected } from "../../network/container_network.ts";
import { ByteReader, headEnd, lineEnd } from "./byte_reader.ts";
import { fieldValue, latin1, tokensOf } from "./message.ts";

const limits = { headBytes: 64 * 1024, fields: 256, lineBytes: 4096, trailerBytes: 64 * 1024 } as const;
/** So much of a body that nobody reads is read all the same, so that its sender comes to see its answer. */
const unreadBytes = 64 * 1024 * 1024;

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const requestLine = /^([A-Z]{1,32}) (\/[\x21-\x7e]*) HTTP\/1\.([01])$/;
const encoder = new TextEncoder();

/**
 * Answers one request. Its signal is aborted when the client goes away before it has the answer.
 * @param trailers what stood behind the body, when that has been read.
 */
export type Answer = (request: Request, trailers: () => Headers) => Promise<Response>;

/** What a client has sent is no request. */
class Malformed extends Error {}

interface Head {
  readonly method: string;
  readonly target: string;
  readonly headers: Headers;
  /** Whether the client takes another answer behind this one's. */
  readonly persistent: boolean;
  readonly framing: number | "chunked";
}

/**
 * The server's end of one connection of HTTP/1.1, for what is asked from within a container: one request after the other,
 * each answered whole.
 * @returns when the connection has ended; it never rejects.
 */
export async function serveConnection(
  { readable, writable }: Connected,
  answer: Answer,
  signal: AbortSignal,
): Promise<void> {
  const reader = new ByteReader(readable);
  const writer = writable.getWriter();
  writer.closed.catch(() => {});
  const cut = () => {
    reader.cancel().catch(() => {});
    writer.abort().catch(() => {});
  };
  signal.addEventListener("abort", cut);
  try {
    while (!signal.aborted && await exchange(reader, writer, answer));
    await writer.close();
  } catch {
    // Whoever broke it off knows.
  } finally {
    signal.removeEventListener("abort", cut);
    cut();
  }
}

type Writer = WritableStreamDefaultWriter<Uint8Array>;

/** @returns whether another request may follow. */
async function exchange(
  reader: ByteReader,
  writer: Writer,
  answer: Answer,
): Promise<boolean> {
  let head: Head;
  try {
    const bytes = await reader.until(headEnd, limits.headBytes, () => new Malformed("the head is too long"));
    if (bytes === undefined) return false;
    head = parseRequestHead(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    await send(writer, new Response(error.message, { status: 400 }), false);
    return false;
  }
  if (head.headers.get("expect")?.toLowerCase() === "100-continue") {
    await writer.write(encoder.encode("HTTP/1.1 100 Continue\r\n\r\n"));
  }
  const gone = new AbortController();
  const body = new Body(reader, head.framing);
  const request = new Request(`http://127.0.0.1${head.target}`, {
    method: head.method,
    headers: head.headers,
    signal: gone.signal,
    ...(head.framing !== 0 && { body: body.stream(), duplex: "half" }),
  });
  // A client that goes while it waits is seen by the end of what it sends.
  if (head.framing === 0) reader.fill().then((more) => more || gone.abort(), () => gone.abort());
  const response = await answer(request, () => body.trailers);
  const whole = await body.discard(unreadBytes);
  const persistent = head.persistent && whole && !gone.signal.aborted;
  await send(writer, response, persistent);
  return persistent;
}

/** @throws Malformed. */
function parseRequestHead(bytes: Uint8Array): Head {
  const [first = "", ...lines] = latin1(bytes).split("\r\n");
  const [, method = "", target = "", minor] = requestLine.exec(first) ?? [];
  if (minor === undefined) throw new Malformed("wanted a request line of HTTP/1.1");
  if (["TRACE", "TRACK", "CONNECT"].includes(method)) throw new Malformed(`${method} is not for here`);
  if (lines.length > limits.fields) throw new Malformed(`the head has more than ${limits.fields} fields`);
  const headers = new Headers();
  for (const line of lines) addField(headers, line);
  const connection = tokensOf(headers.get("connection"));
  const persistent = minor === "1" ? !connection.has("close") : connection.has("keep-alive");
  return { method, target, headers, persistent, framing: framingOf(method, headers) };
}

/** @throws Malformed. */
function addField(headers: Headers, line: string): void {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(0, colon));
  if (!token.test(name)) throw new Malformed('wanted "name: value" in each line');
  try {
    headers.append(name, fieldValue(line, colon));
  } catch {
    throw new Malformed(`the value of ${name} has characters that none may have`);
  }
}

/** @throws Malformed. @see https://www.rfc-editor.org/rfc/rfc9112#section-6.3 */
function framingOf(method: string, headers: Headers): Head["framing"] {
  const encoding = headers.get("transfer-encoding");
  const length = headers.get("content-length");
  if (encoding !== null && (encoding.toLowerCase() !== "chunked" || length !== null)) {
    throw new Malformed("wanted Transfer-Encoding: chunked alone, or Content-Length");
  }
  if (length !== null && !/^\d{1,15}$/.test(length)) throw new Malformed("wanted a number in Content-Length");
  const framing = encoding !== null ? "chunked" : Number(length ?? 0);
  if (framing !== 0 && (method === "GET" || method === "HEAD")) throw new Malformed(`${method} has no body`);
  return framing;
}

/** The body of one request. */
class Body {
  readonly trailers = new Headers();
  readonly #parts: AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>;

  constructor(reader: ByteReader, framing: Head["framing"]) {
    this.#parts = framing === "chunked" ? chunks(reader, this.trailers) : parts(reader, framing);
  }

  /** To be read once, as far as somebody wants to: what is left is `discard`'s. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      pull: async (controller) => {
        const { done, value } = await this.#parts.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
    }, { highWaterMark: 0 });
  }

  /** Reads the rest. @returns whether it came to its end. */
  async discard(limit: number): Promise<boolean> {
    let rest = limit;
    for (;;) {
      const { done, value } = await this.#parts.next();
      if (done) return true;
      if ((rest -= value.length) < 0) return false;
    }
  }
}

async function* parts(reader: ByteReader, length: number): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  for (let rest = length; rest > 0;) {
    if (reader.held === 0 && !await reader.fill()) throw new Malformed("the body ended too early");
    const part = reader.take(rest);
    rest -= part.length;
    if (part.length > 0) yield part;
  }
}

async function* chunks(
  reader: ByteReader,
  trailers: Headers,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const line = async (limit: number = limits.lineBytes) => {
    const read = await reader.until(lineEnd, limit, () => new Malformed("a line of the body is too long"));
    if (read === undefined) throw new Malformed("the body ended too early");
    return latin1(read);
  };
  for (;;) {
    const digits = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(await line())?.[1];
    if (digits === undefined) throw new Malformed("wanted the size of a chunk");
    const size = parseInt(digits, 16);
    if (size === 0) break;
    yield* parts(reader, size);
    if (await line() !== "") throw new Malformed("a chunk is longer than it says");
  }
  for (let total = 0;;) {
    const field = await line(limits.trailerBytes);
    if (field === "") return;
    if ((total += field.length) > limits.trailerBytes) throw new Malformed("there are too many trailers");
    addField(trailers, field);
  }
}

/** Sends a whole answer in one piece: it is one packet where it is short. */
async function send(writer: Writer, response: Response, persistent: boolean): Promise<void> {
  const body = new Uint8Array(await response.arrayBuffer());
  let text = `HTTP/1.1 ${response.status} ${response.status < 400 ? "OK" : "Error"}\r\n`;
  response.headers.forEach((value, name) => text += `${name}: ${value}\r\n`);
  text += `content-length: ${body.length}\r\n${persistent ? "" : "connection: close\r\n"}\r\n`;
  const head = encoder.encode(text);
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  await writer.write(whole);
}
