import process from "node:process";
import type { Output } from "./output.ts";

/** The process's own stdout and stderr. */
export function terminal(json: boolean): Output {
  return {
    json,
    live: process.stderr.isTTY === true && !json,
    columns: process.stderr.columns ?? 80,
    line: (text) => console.log(text),
    // Not console.error(): Bun writes that in red where it is a terminal, though most of it is no error.
    note: (text) => console.warn(text),
    draw: (text) => {
      process.stderr.write(text);
    },
    bytes: (chunk) => write(process.stdout, chunk),
    errorBytes: (chunk) => write(process.stderr, chunk),
  };
}

function write(stream: NodeJS.WriteStream, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => stream.write(chunk, (error) => error == null ? resolve() : reject(error)));
}
