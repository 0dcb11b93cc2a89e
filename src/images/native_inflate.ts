import { Failure } from "../core/errors.ts";
import type { Host, Memory } from "../core/host.ts";

/** How much is read, and comes out, at a time. */
const inputBytes = 256 << 10;
const outputBytes = 512 << 10;

/** Where the next bytes of a blob are put. @returns how many there were; 0 at its end. */
export type Fill = (into: Uint8Array) => number;

/**
 * Decompresses by a library of this machine, on this thread: faster than `node:zlib`, and its output is where it was the last
 * time, so that nothing is left for the garbage collector. What it yields is valid until the next is asked for.
 */
export interface NativeInflater {
  /** The library's name. */
  readonly name: string;
  /** @throws data_loss when it is corrupt or cut short; what `fill` throws. */
  inflate(fill: Fill): Generator<Uint8Array>;
}

/** What of this machine can be used. */
export interface NativeInflaters {
  readonly gzip: NativeInflater | undefined;
  readonly zstd: NativeInflater | undefined;
  readonly plain?: undefined;
}

/** Looks for ISA-L and libzstd. Each has to give back a sample before it is trusted with anything. */
export function nativeInflaters(host: Host): NativeInflaters {
  return { gzip: proven(isal(host), gzipSample), zstd: proven(zstd(host), zstdSample) };
}

/** `mayfly` 40 times over, by gzip and by zstd. */
const sampleText = "mayfly".repeat(40);
const gzipSample = "H4sIAAAAAAAAA8tNrEzLqcwdMSQA6a7SJvAAAAA=";
const zstdSample = "KLUv/SDwbQAAMG1heWZseQEA51ClCA==";

function proven(inflater: NativeInflater | undefined, sample: string): NativeInflater | undefined {
  if (inflater === undefined) return undefined;
  let rest = Uint8Array.from(atob(sample), (character) => character.charCodeAt(0));
  const fill: Fill = (into) => {
    // A byte at a time: it has to stop and go on anywhere.
    into.set(rest.subarray(0, 1));
    const count = Math.min(1, rest.length);
    rest = rest.subarray(1);
    return count;
  };
  try {
    let text = "";
    for (const piece of inflater.inflate(fill)) text += new TextDecoder().decode(piece);
    return text === sampleText ? inflater : undefined;
  } catch {
    // Another version than the one whose structures are known here.
    return undefined;
  }
}

/**
 * ISA-L's `struct inflate_state` (2.30, 2.31): where the fields lie that are used, and room for all of it.
 * @see https://github.com/intel/isa-l/blob/v2.30.0/include/igzip_lib.h
 */
const state = {
  nextOut: 0,
  availableOut: 8,
  nextIn: 16,
  availableIn: 32,
  block: 21_160,
  checksum: 21_172,
  size: 256 << 10,
} as const;
const blockFinish = 5;
/** `ISAL_GZIP`: with its header, and its checksum is compared. */
const gzipForm = 1;

function isal(host: Host): NativeInflater | undefined {
  const functions = host.library("libisal.so.2", { isal_inflate_init: 1, isal_inflate: 1 });
  if (functions === undefined) return undefined;
  return {
    name: "ISA-L",
    *inflate(fill) {
      const memory = host.map(state.size + inputBytes + outputBytes);
      try {
        const { address } = memory;
        const fields = new DataView(memory.bytes.buffer);
        const input = memory.bytes.subarray(state.size, state.size + inputBytes);
        const output = memory.bytes.subarray(state.size + inputBytes, state.size + inputBytes + outputBytes);
        const [inputAt, outputAt] = [address + state.size, address + state.size + inputBytes];
        let [from, to] = [0, 0];
        const more = () => [from, to] = [0, fill(input)];
        for (let member = 0; to > from || more()[1] > 0; member++) {
          // What is behind the last member is no part of it: gzip(1) ignores it too.
          if (member > 0 && input[from] !== 0x1f) return;
          functions.isal_inflate_init(address);
          fields.setUint32(state.checksum, gzipForm, true);
          for (let full = false; fields.getInt32(state.block, true) !== blockFinish;) {
            // What did not fit may be in the library still.
            if (from === to && !full && more()[1] === 0) throw cutShort("gzip");
            fields.setBigUint64(state.nextIn, BigInt(inputAt + from), true);
            fields.setUint32(state.availableIn, to - from, true);
            fields.setBigUint64(state.nextOut, BigInt(outputAt), true);
            fields.setUint32(state.availableOut, outputBytes, true);
            const result = functions.isal_inflate(address) | 0;
            if (result < 0) throw corrupt("gzip", `ISA-L says ${result}`);
            from = to - fields.getUint32(state.availableIn, true);
            const length = outputBytes - fields.getUint32(state.availableOut, true);
            full = length === outputBytes;
            if (length > 0) yield output.subarray(0, length);
          }
        }
      } finally {
        memory.release();
      }
    },
  };
}

/** Behind libzstd's two buffers: `ZSTD_outBuffer` and `ZSTD_inBuffer`, each a pointer, a size and a position. */
const buffersBytes = 4096;

function zstd(host: Host): NativeInflater | undefined {
  const functions = host.library("libzstd.so.1", {
    ZSTD_createDStream: 0,
    ZSTD_freeDStream: 1,
    ZSTD_decompressStream: 3,
    ZSTD_isError: 1,
  });
  if (functions === undefined) return undefined;
  return {
    name: "libzstd",
    *inflate(fill) {
      const memory = host.map(buffersBytes + inputBytes + outputBytes);
      const stream = functions.ZSTD_createDStream();
      try {
        if (stream === 0) throw new Failure("resource_exhausted", "cannot decompress zstd: there is no memory for it");
        yield* zstdPieces(memory, fill, (out, input) => {
          const result = functions.ZSTD_decompressStream(stream, out, input);
          return result < 0 ? -1 : result;
        });
      } finally {
        functions.ZSTD_freeDStream(stream);
        memory.release();
      }
    },
  };
}

/** @param step as `ZSTD_decompressStream`: 0 at a frame's end, negative for an error. */
function* zstdPieces(
  { address, bytes }: Memory,
  fill: Fill,
  step: (out: number, input: number) => number,
): Generator<Uint8Array> {
  const fields = new DataView(bytes.buffer);
  const input = bytes.subarray(buffersBytes, buffersBytes + inputBytes);
  const output = bytes.subarray(buffersBytes + inputBytes, buffersBytes + inputBytes + outputBytes);
  const [out, into] = [0, 24];
  const word = (at: number, value: number) => fields.setBigUint64(at, BigInt(value), true);
  word(out, address + buffersBytes + inputBytes);
  word(out + 8, outputBytes);
  word(into, address + buffersBytes);
  let within = true;
  let full = false;
  for (let count = fill(input); count > 0; count = fill(input)) {
    word(into + 8, count);
    word(into + 16, 0);
    while (full || Number(fields.getBigUint64(into + 16, true)) < count) {
      word(out + 16, 0);
      const result = step(address + out, address + into);
      if (result < 0) throw corrupt("zstd", "libzstd refuses it");
      within = result !== 0;
      const length = Number(fields.getBigUint64(out + 16, true));
      full = length === outputBytes && within;
      if (length > 0) yield output.subarray(0, length);
    }
  }
  if (within) throw cutShort("zstd");
}

function cutShort(form: string): Failure {
  return new Failure("data_loss", `cannot decompress ${form}: it was cut short`);
}

function corrupt(form: string, why: string): Failure {
  return new Failure("data_loss", `cannot decompress ${form}: ${why}`);
}
