import { encodeFrame } from "../core/stdio_frames.ts";
import type { LogRecord } from "../tasks/log_records.ts";

const newline = 10;

export interface LogForm {
  /** Each stream in frames of its own, or both in one run of bytes. */
  readonly frames: boolean;
  /** Every line begins with the time of its first byte. */
  readonly timestamps: boolean;
}

/** A log's records as an answer's bytes. */
export async function* logBytes(
  records: AsyncGenerator<LogRecord>,
  form: LogForm,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const stamps = { stdout: new Stamps(), stderr: new Stamps() };
  for await (const { channel, timeMs, payload } of records) {
    const stream = channel === "stdout" ? channel : "stderr";
    const bytes = channel === "lost" ? lostLine(payload) : payload;
    if (bytes.length === 0) continue;
    const text = form.timestamps ? stamps[stream].stamp(bytes, timeMs) : bytes;
    yield form.frames ? encodeFrame(stream, text) : text.slice();
  }
  if (form.frames) yield encodeFrame("result", new TextEncoder().encode("{}"));
}

function lostLine(count: Uint8Array): Uint8Array {
  const bytes = new TextDecoder().decode(count);
  return new TextEncoder().encode(`[${bytes} bytes of output are lost: the log could not be written]\n`);
}

/** Puts times before the lines of one stream. */
class Stamps {
  #atLineStart = true;

  stamp(bytes: Uint8Array, timeMs: number): Uint8Array {
    const time = new TextEncoder().encode(`${new Date(timeMs).toISOString()} `);
    const parts: Uint8Array[] = [];
    for (let begin = 0; begin < bytes.length;) {
      const end = bytes.indexOf(newline, begin) + 1 || bytes.length;
      if (this.#atLineStart) parts.push(time);
      parts.push(bytes.subarray(begin, end));
      this.#atLineStart = bytes[end - 1] === newline;
      begin = end;
    }
    const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
