import process from "node:process";
import type { Host, LibraryFunction } from "../core/host.ts";
import { type Libc, loadCode, map, mapping, openLibc } from "./address_space.ts";
import { serve } from "./node_serve.ts";
import { Deno } from "./deno_shapes.ts";
import { loadLibrary, mapValues } from "./library.ts";
import { fetchUnix } from "./node_fetch.ts";
import { connectWebSocket } from "./connect_web_socket.ts";
import { readable, writable } from "./descriptor_streams.ts";
import { listenTcp } from "./tcp_listener.ts";
import { onChild, onSignal } from "./process_signals.ts";
import { socketReader, socketWriter } from "./socket_streams.ts";

function libc(): Libc {
  const { symbols } = openLibc((name) =>
    Deno.dlopen(name, {
      mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "isize" },
      munmap: { parameters: ["usize", "usize"], result: "i32" },
      mprotect: { parameters: ["usize", "usize", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
      fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
      read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
      write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    })
  );
  const pointer = (address: number) => {
    const value = Deno.UnsafePointer.create(BigInt(address));
    if (value === null) throw new TypeError("address 0 points at nothing");
    return value;
  };
  return {
    mmap: (byteLength) => Number(symbols.mmap(0, byteLength, mapping.protection, mapping.flags, -1, 0)),
    munmap: (address, byteLength) => Number(symbols.munmap(address, byteLength)),
    mprotect: (address, byteLength, protection) => Number(symbols.mprotect(address, byteLength, protection)),
    close: (fd) => Number(symbols.close(fd)),
    fcntl: (fd, operation, argument) => Number(symbols.fcntl(fd, operation, argument)),
    read: (fd, bytes) => Number(symbols.read(fd, bytes, bytes.byteLength)),
    write: (fd, bytes) => Number(symbols.write(fd, bytes, bytes.byteLength)),
    view: (address, byteLength) => Deno.UnsafePointerView.getArrayBuffer(pointer(address), byteLength),
    callable(address) {
      const entry = new Deno.UnsafeFnPointer(pointer(address), { parameters: ["usize"], result: "i64" });
      return (argument) => Number(entry.call(argument));
    },
  };
}

function library<Name extends string>(
  name: string,
  functions: Readonly<Record<Name, number>>,
): Readonly<Record<Name, LibraryFunction>> {
  const shapes = mapValues(functions, (count) => ({ parameters: Array(count).fill("usize"), result: "i64" } as const));
  const { symbols } = Deno.dlopen(name, shapes);
  return mapValues(functions, (_, key) => (...args) => Number(symbols[key]?.(...args)));
}

const c = libc();

/**
 * Deno's adapter: its own FFI; `node:net` for descriptors and `node:http` to serve, since `Deno.serve` stops for seconds in
 * the middle of large bodies that are read no faster than they are used.
 */
export const host: Host = {
  name: "deno",
  version: Deno.version.deno,
  arch: Deno.build.arch === "aarch64" ? "arm64" : "x64",
  pid: process.pid,
  env: process.env,
  map: (byteLength) => map(c, byteLength),
  code: (code) => loadCode(c, code),
  library: (name, functions) => loadLibrary(() => library(name, functions)),
  readable: (fd, { ended } = {}) => readable(c, fd, socketReader, ended),
  writable: (fd) => writable(c, fd, socketWriter),
  onChild,
  onSignal,
  serve,
  listenTcp,
  fetchUnix,
  connectWebSocket,
};
