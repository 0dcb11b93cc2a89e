import { Failure } from "../core/errors.ts";
import { type Connection, problem } from "./connection.ts";

/** A value as JSON brings it: dates are ISO texts. */
export type Json<T> = T extends Date ? string
  : T extends readonly (infer Item)[] ? readonly Json<Item>[]
  : T extends object ? { readonly [Key in keyof T]: Json<T[Key]> }
  : T;

export interface CallOptions {
  readonly query?: Readonly<Record<string, string | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

/** Calls the admin API. @throws what its problem says. */
export async function call(
  connection: Connection,
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<Response> {
  const url = new URL(path, "http://mayfly");
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  const answer = await connection.fetch(
    new Request(
      url,
      options.body === undefined
        ? { method }
        : { method, headers: { "content-type": "application/json" }, body: JSON.stringify(options.body) },
    ),
  );
  if (!answer.ok) throw await problem(answer);
  return answer;
}

/** Calls the admin API and reads one JSON value. */
export async function callJson<T>(
  connection: Connection,
  method: string,
  path: string,
  options?: CallOptions,
): Promise<Json<T>> {
  return await (await call(connection, method, path, options)).json() as Json<T>;
}

/** Calls the admin API and reads a list. */
export async function callList<T>(
  connection: Connection,
  path: string,
  options?: CallOptions,
): Promise<readonly Json<T>[]> {
  return (await callJson<{ items: readonly T[] }>(connection, "GET", path, options)).items as readonly Json<T>[];
}

/** Reads an answer of JSON lines as they come. */
export async function* jsonLines(answer: Response): AsyncGenerator<Record<string, unknown>> {
  let rest = "";
  for await (
    const piece of (answer.body ?? new ReadableStream<Uint8Array<ArrayBuffer>>()).pipeThrough(new TextDecoderStream())
  ) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line);
  }
  if (rest !== "") throw new Failure("unavailable", "the daemon's answer broke off");
}
