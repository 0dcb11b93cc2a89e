import { CFunction, dlopen, FFIType, toArrayBuffer } from "bun:ffi";
import process from "node:process";
import type { Host, LibraryFunction } from "../core/host.ts";
import { type Libc, loadCode, map, mapping, openLibc } from "./address_space.ts";
import { loadLibrary, mapValues } from "./library.ts";
import { fetchUnix, fileReader, fileWriter, serve } from "./bun_io.ts";
import { connectWebSocket } from "./connect_web_socket.ts";
import { readable, writable } from "./descriptor_streams.ts";
import { listenTcp } from "./tcp_listener.ts";
import { onChild, onSignal } from "./process_signals.ts";

type Pointer = number & { readonly __pointer__: null };

function libc(): Libc {
  const { i32, u64, i64_fast, ptr } = FFIType;
  const { symbols } = openLibc((name) =>
    dlopen(name, {
      mmap: { args: [u64, u64, i32, i32, i32, i64_fast], returns: i64_fast },
      munmap: { args: [u64, u64], returns: i32 },
      mprotect: { args: [u64, u64, i32], returns: i32 },
      close: { args: [i32], returns: i32 },
      fcntl: { args: [i32, i32, i32], returns: i32 },
      read: { args: [i32, ptr, u64], returns: i64_fast },
      write: { args: [i32, ptr, u64], returns: i64_fast },
    })
  );
  return {
    mmap: (byteLength) => Number(symbols.mmap(0, byteLength, mapping.protection, mapping.flags, -1, 0)),
    munmap: (address, byteLength) => symbols.munmap(address, byteLength),
    mprotect: (address, byteLength, protection) => symbols.mprotect(address, byteLength, protection),
    close: (fd) => symbols.close(fd),
    fcntl: (fd, operation, argument) => symbols.fcntl(fd, operation, argument),
    read: (fd, bytes) => Number(symbols.read(fd, bytes, bytes.byteLength)),
    write: (fd, bytes) => Number(symbols.write(fd, bytes, bytes.byteLength)),
    view: (address, byteLength) => toArrayBuffer(address as Pointer, 0, byteLength),
    callable(address) {
      const entry: unknown = CFunction({ ptr: address as Pointer, args: [u64], returns: i64_fast });
      return entry as (argument: number) => number;
    },
  };
}

function library<Name extends string>(
  name: string,
  functions: Readonly<Record<Name, number>>,
): Readonly<Record<Name, LibraryFunction>> {
  const { u64, i64_fast } = FFIType;
  const shapes = mapValues(functions, (count) => ({ args: Array<typeof u64>(count).fill(u64), returns: i64_fast }));
  const { symbols }: { symbols: unknown } = dlopen(name, shapes);
  const callables = symbols as Readonly<Record<Name, (...args: readonly number[]) => number | bigint>>;
  return mapValues(functions, (_, key) => (...args) => Number(callables[key](...args)));
}

const c = libc();

/** Bun's adapter: `bun:ffi`, `Bun.serve`, `Bun.file` to read descriptors and `node:net` to write them. */
export const host: Host = {
  name: "bun",
  version: process.versions.bun ?? "unknown",
  arch: process.arch === "arm64" ? "arm64" : "x64",
  pid: process.pid,
  env: process.env,
  map: (byteLength) => map(c, byteLength),
  code: (code) => loadCode(c, code),
  library: (name, functions) => loadLibrary(() => library(name, functions)),
  readable: (fd, { ended } = {}) => readable(c, fd, (own) => fileReader(c, own), ended),
  writable: (fd) => writable(c, fd, (own) => fileWriter(c, own)),
  onChild,
  onSignal,
  serve,
  listenTcp,
  fetchUnix,
  connectWebSocket,
};
