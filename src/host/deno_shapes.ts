/**
 * The part of Deno's API that its adapter uses. `tsc` does not know the global; it is named here once, with its shapes.
 */

type Integer = "i32" | "i64" | "usize" | "isize";

interface Signature {
  readonly parameters: readonly (Integer | "buffer")[];
  readonly result: Integer;
}

/** An opaque address. */
export interface Pointer {
  readonly kind: unique symbol;
}

interface Api {
  readonly version: { readonly deno: string };
  readonly build: { readonly arch: "x86_64" | "aarch64" };
  dlopen<Symbols extends Readonly<Record<string, Signature>>>(
    name: string,
    symbols: Symbols,
  ): {
    readonly symbols: { readonly [Name in keyof Symbols]: (...values: (number | Uint8Array)[]) => number | bigint };
  };
  readonly UnsafePointer: { create(address: bigint): Pointer | null };
  readonly UnsafePointerView: { getArrayBuffer(pointer: Pointer, byteLength: number): ArrayBuffer };
  readonly UnsafeFnPointer: new (pointer: Pointer, signature: Signature) => {
    call(argument: number): number | bigint;
  };
}

/** The global `Deno`. */
export const Deno: Api = (globalThis as unknown as { readonly Deno: Api }).Deno;
