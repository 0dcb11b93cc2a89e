import koffi from "koffi";
import process from "node:process";
import type { Host, LibraryFunction } from "../core/host.ts";
import { type Libc, loadCode, map, mapping, openLibc } from "./address_space.ts";
import { loadLibrary, mapValues } from "./library.ts";
import { fetchUnix } from "./node_fetch.ts";
import { serve } from "./node_serve.ts";
import { connectWebSocket } from "./connect_web_socket.ts";
import { readable, writable } from "./descriptor_streams.ts";
import { listenTcp } from "./tcp_listener.ts";
import { onChild, onSignal } from "./process_signals.ts";
import { socketReader, socketWriter } from "./socket_streams.ts";

function libc(): Libc {
  const library = openLibc((name) => koffi.load(name));
  const mmap = library.func("mmap", "intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]);
  const munmap = library.func("munmap", "int", ["uintptr_t", "size_t"]);
  const mprotect = library.func("mprotect", "int", ["uintptr_t", "size_t", "int"]);
  const close = library.func("close", "int", ["int"]);
  const fcntl = library.func("fcntl", "int", ["int", "int", "int"]);
  const read = library.func("read", "intptr_t", ["int", "void *", "size_t"]);
  const write = library.func("write", "intptr_t", ["int", "void *", "size_t"]);
  const entry = koffi.proto("int64_t", ["uintptr_t"]);
  return {
    mmap: (byteLength) => mmap(0, byteLength, mapping.protection, mapping.flags, -1, 0),
    munmap: (address, byteLength) => munmap(address, byteLength),
    mprotect: (address, byteLength, protection) => mprotect(address, byteLength, protection),
    close: (fd) => close(fd),
    fcntl: (fd, operation, argument) => fcntl(fd, operation, argument),
    read: (fd, bytes) => read(fd, bytes, bytes.byteLength),
    write: (fd, bytes) => write(fd, bytes, bytes.byteLength),
    view: (address, byteLength) => koffi.view(BigInt(address), byteLength),
    callable: (address) => koffi.decode(BigInt(address), entry),
  };
}

function library<Name extends string>(
  name: string,
  functions: Readonly<Record<Name, number>>,
): Readonly<Record<Name, LibraryFunction>> {
  const loaded = koffi.load(name, { deep: true });
  return mapValues(functions, (count, key) => loaded.func(key, "int64_t", Array(count).fill("uintptr_t")));
}

const c = libc();

/** Node's adapter: koffi for memory and machine code, `node:net` for descriptors, @hono/node-server for HTTP. */
export const host: Host = {
  name: "node",
  version: process.versions.node,
  arch: process.arch === "arm64" ? "arm64" : "x64",
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
