import { type AddressInfo, createServer, type Socket } from "node:net";

/** A request as it came over the wire. */
export interface OddRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What to say: an answer in parts, or the socket to do anything with. */
export type OddHandler = (request: OddRequest, socket: Socket) => OddAnswer | void;

export interface OddAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Where the connection is cut, in bytes of the body. */
  readonly cutAt?: number;
}

export interface OddServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly requests: readonly OddRequest[];
}

/** A server for tests that can answer as no real one would: it writes HTTP byte by byte. One request per connection. */
export async function oddServer(handler: OddHandler, address = "127.0.0.1"): Promise<OddServer> {
  const requests: OddRequest[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (chunk) => {
      const before = text.includes("\r\n\r\n");
      text += String(chunk);
      if (before || !text.includes("\r\n\r\n")) return;
      const request = parse(text);
      requests.push(request);
      const answer = handler(request, socket);
      if (answer !== undefined) write(socket, request, answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    host: `${address}:${port}`,
    port,
    requests,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

function parse(text: string): OddRequest {
  const [first = "", ...lines] = text.split("\r\n\r\n", 1)[0]?.split("\r\n") ?? [];
  const [method = "", path = ""] = first.split(" ");
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { method, path, headers: Object.fromEntries(headers) };
}

function write(socket: Socket, { method }: OddRequest, { status, headers = {}, body = "", cutAt }: OddAnswer): void {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const all = { "content-length": String(bytes.length), connection: "close", ...headers };
  const head = Object.entries(all).filter(([, value]) => value !== "").map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 ${status} Odd\r\n${head.join("")}\r\n`);
  if (method === "HEAD") return void socket.end();
  if (cutAt === undefined) return void socket.end(bytes);
  socket.write(bytes.subarray(0, cutAt), () => setTimeout(() => socket.destroy(), 20));
}
